/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * voip_push.h: wake sleeping phones for SIP calls with VoIP pushes (APNs and FCM).
 *
 * Made by build.rs from src/c_api and cbindgen.toml; changes made here are lost.
 *
 * A COMPLETE PROGRAM
 *
 *     #include <stdio.h>
 *     #include <voip_push.h>
 *
 *     int main(void)
 *     {
 *         int32_t woken = voip_push_init("/etc/voip-push/voip-push.toml");
 *
 *         if (woken == VOIP_PUSH_OK)
 *             woken = send_voip_push("alice", "Bob", "a84b4c76e66710@pc33.example.org");
 *         if (woken < 0)
 *             fprintf(stderr, "%s: %s\n", voip_push_status_name(woken), voip_push_last_error());
 *         else
 *             printf("phones that are waking up: %d\n", (int)woken);
 *         voip_push_shutdown();
 *         return woken < 0;
 *     }
 *
 *     cc -o wake wake.c -lvoip_push
 *
 * tests/c/smoke.c shows every function.
 *
 * RESULTS
 *     Functions return int32_t: 0 or more is success, and functions that count return the
 *     count. A negative number is one of the statuses below, in families: arguments (-101
 *     and down), configuration (-201), token store (-301), push (-401), bugs (-901). A number
 *     keeps its meaning for ever, and later versions may add some, so treat one that you
 *     do not know as a failure. Never hand a status on as the return value of a routing
 *     script's function: 0 would stop the script.
 *
 * STRINGS
 *     Strings that you pass end in NUL, are UTF-8, and must not be NULL unless the function
 *     says so. Strings that come back go into your buffer with a NUL, whole or not at all.
 *     A length (_len) never counts the NUL and a capacity (_cap) always does, so a text
 *     fits where its length is less than the capacity.
 *
 * OWNERSHIP
 *     Nothing that you pass is kept after the call, and nothing that you get has to be freed.
 *
 * LAST ERROR
 *     A negative status comes with one line of text, kept for each thread and cleared when a
 *     call begins: see voip_push_last_error. Neither the text nor the log ever holds a
 *     token, a key or a phone number.
 *
 * LIFE
 *     There is one instance for each process. voip_push_init makes it; where nobody calls
 *     that, the first call of any other function does, from the file that the environment
 *     variable VOIP_PUSH_CONFIG names or else /etc/voip-push/voip-push.toml. If the file is
 *     wrong, every call returns VOIP_PUSH_ERR_CONFIG until it is right; it is read again
 *     each time. A file that was read successfully is not read again before
 *     voip_push_shutdown.
 *
 * THREADS
 *     Any thread may call any function, also at the same time; a signal handler may call none.
 *     The library's own threads block all signals. It sets no signal handler and changes no
 *     environment variable.
 *
 * FORK
 *     A child may call every function. It opens the token store and connections for itself
 *     and shares only configuration and counters with its parent. Fork while no other
 *     thread is inside a call.
 *
 * LOGGING
 *     Nothing is written to standard output. Warnings and errors that no status can tell, such
 *     as an odd setting, go to standard error, or to the log of the SIP server that has
 *     loaded the library as its module. log.level in the configuration can make that less.
 *     The environment variable VOIP_PUSH_LOG (off, error, warn, info, debug or trace) is
 *     read when the library starts, goes before the configuration and can make it more.
 *
 * Every function below ends with the same five lines: Ownership, Threads, Fork, Blocks and
 * Errors. Errors names statuses without their prefix VOIP_PUSH_ERR_.
 */

#ifndef VOIP_PUSH_H
#define VOIP_PUSH_H

#include <stddef.h>
#include <stdint.h>

/** The version of this header; voip_push_version tells the running library's. */
#define VOIP_PUSH_VERSION_MAJOR 0
#define VOIP_PUSH_VERSION_MINOR 1
#define VOIP_PUSH_VERSION_PATCH 0


/**
 * Success. Functions that count return the count instead, which is never negative.
 */
#define VOIP_PUSH_OK 0

/**
 * Arguments: a pointer that must not be NULL is NULL.
 */
#define VOIP_PUSH_ERR_NULL_POINTER -101

/**
 * Arguments: a string is not valid UTF-8.
 */
#define VOIP_PUSH_ERR_INVALID_UTF8 -102

/**
 * Arguments: a value cannot be right; the last error names the argument and says why.
 */
#define VOIP_PUSH_ERR_BAD_ARGUMENT -103

/**
 * Arguments: a buffer is too small; the needed length was stored, the buffers are untouched.
 */
#define VOIP_PUSH_ERR_BUFFER_TOO_SMALL -104

/**
 * Configuration: it is missing or wrong; the last error names the file, the key and what to do.
 */
#define VOIP_PUSH_ERR_CONFIG -201

/**
 * Configuration: the library is already running with one; call voip_push_shutdown first.
 */
#define VOIP_PUSH_ERR_ALREADY_INITIALISED -202

/**
 * Token store: it cannot be reached, or it is full.
 */
#define VOIP_PUSH_ERR_STORE -301

/**
 * Token store: the user has as many devices as the configuration lets one have.
 */
#define VOIP_PUSH_ERR_TOO_MANY_DEVICES -302

/**
 * Push: the user has no device. Nothing is wrong; let the call go on without a push.
 */
#define VOIP_PUSH_ERR_NO_DEVICE -401

/**
 * Push: every provider rejected the push, or every token is dead.
 */
#define VOIP_PUSH_ERR_ALL_REJECTED -402

/**
 * Push: no provider accepted in time, or a limit of the configuration is reached. A push may
 * still be under way.
 */
#define VOIP_PUSH_ERR_NO_ANSWER -403

/**
 * Push: our own key or service account was refused or is paused, or there is none for this app.
 */
#define VOIP_PUSH_ERR_CREDENTIAL_REFUSED -404

/**
 * Push: too many pushes are waiting already.
 */
#define VOIP_PUSH_ERR_QUEUE_FULL -405

/**
 * Push: the part of the library that sends has ended.
 */
#define VOIP_PUSH_ERR_SENDER_GONE -406

/**
 * Push: the answers are not in yet; ask again when the descriptor is readable.
 */
#define VOIP_PUSH_ERR_NOT_READY -407

/**
 * A bug of this library, or the system has no resources left.
 */
#define VOIP_PUSH_ERR_INTERNAL -901

/**
 * A device with all that can be said of it, for register_device. Set it to zero and fill in
 * size, user, token and platform; a text that stays NULL or is "" is not said:
 * `voip_push_device device = {0}; device.size = sizeof device; device.user = "alice";`
 */
typedef struct voip_push_device {
    /**
     * sizeof(voip_push_device): later versions may have more fields at the end.
     */
    size_t size;
    /**
     * Whose it is, as for register_token.
     */
    const char *user;
    /**
     * What its provider calls it, as for register_token.
     */
    const char *token;
    /**
     * "ios" or "android".
     */
    const char *platform;
    /**
     * Which of the user's devices it is; NULL is "the one phone of this user".
     */
    const char *device_id;
    /**
     * "apns" or "fcm"; NULL is told by platform and token.
     */
    const char *provider;
    /**
     * Topic or project; NULL is the configuration's first.
     */
    const char *app;
    /**
     * "production" or "sandbox", for APNs; NULL is the configuration's first.
     */
    const char *environment;
    /**
     * The ordinary APNs token of an iPhone whose token is PushKit's, for what is not a call.
     */
    const char *alert_token;
    /**
     * Its topic; NULL is the device's own, without ".voip".
     */
    const char *alert_app;
    /**
     * For how many seconds the registration is good, up to ten years; 0 is until it is
     * deleted.
     */
    int64_t expires_s;
} voip_push_device;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Reads the configuration and the keys that it names, prepares the token store, and makes
 * the counters that this process and its children share. It starts no thread and leaves no
 * file or connection open, so it is safe to fork afterwards.
 *
 * path is the configuration file. NULL means the file that the environment variable
 * VOIP_PUSH_CONFIG names or, where that is missing or empty,
 * /etc/voip-push/voip-push.toml.
 *
 * Returns VOIP_PUSH_OK.
 *
 * Ownership: path stays yours and is not kept.
 * Threads: any; of two calls at once, one gets ALREADY_INITIALISED.
 * Fork: call it before you fork; children use what it made and need no call of their own.
 * Blocks: on files, for some milliseconds.
 * Errors: CONFIG, ALREADY_INITIALISED, INVALID_UTF8, BAD_ARGUMENT (path is empty),
 * INTERNAL.
 */
int32_t voip_push_init(const char *path);

/**
 * Reads the configuration and the keys that it names again and puts them in force, in this
 * process and in all that were forked since the library started. All of it is checked
 * first; where something is wrong, everything stays as it was. Pushes under way end as they
 * began, and connections to a provider stay where its key does. A new [store] takes
 * effect only after voip_push_shutdown and voip_push_init; the log says so.
 *
 * path is the configuration file. NULL means the one in force. Where the library is not
 * running it starts, with path as voip_push_init takes it.
 *
 * Returns VOIP_PUSH_OK.
 *
 * Ownership: path stays yours and is not kept.
 * Threads: any; of two calls at once, in whichever processes, one gets CONFIG.
 * Fork: the others take the new settings over with their next call.
 * Blocks: on files, for some milliseconds.
 * Errors: CONFIG, INVALID_UTF8, BAD_ARGUMENT (path is empty), INTERNAL.
 */
int32_t voip_push_reload(const char *path);

/**
 * Changes how much is logged, in this process and in all that were forked since the library
 * started, until the next voip_push_reload: "off", "error", "warn", "info", "debug" or
 * "trace". It goes before the configuration and before VOIP_PUSH_LOG. Where the program has
 * a logger of its own for Rust's log crate, nothing changes.
 *
 * Returns VOIP_PUSH_OK.
 *
 * Ownership: level stays yours and is not kept.
 * Threads: any.
 * Fork: the others follow with their next call.
 * Blocks: never, but as voip_push_init where the library is not running yet.
 * Errors: NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT (it is no level), CONFIG (a reload is
 * under way), INTERNAL.
 */
int32_t voip_push_log_level(const char *level);

/**
 * Ends what this process started: pushes under way get up to call.wait_ms to be answered,
 * then the thread that sends ends and the token store is closed. voip_push_init may follow,
 * also with another file; any other call starts the library again by itself. Some
 * kilobytes stay allocated for each pair of init and shutdown, so this is for the end of a
 * program and not for every call.
 *
 * Returns VOIP_PUSH_OK, also where nothing was running.
 *
 * Ownership: nothing is passed.
 * Threads: any, when the others have come back from their calls. One that is still inside a
 * call stays safe, but may start a part of the library again.
 * Fork: ends what this very process started; its parent and children are not touched.
 * Blocks: up to call.wait_ms.
 * Errors: INTERNAL.
 */
int32_t voip_push_shutdown(void);

/**
 * Stores the token of a user's phone, in place of the one that this user had. Whoever had the
 * same token before loses it. register_device takes more than these three.
 *
 * user is the callee's address as send_voip_push will get it, at most 255 bytes: "alice"
 * and "alice@example.org" are two users. A leading "sip:" and URI parameters are dropped.
 * token is what the app got from Apple (PushKit, hexadecimal) or from Firebase.
 * platform is "ios" or "android".
 *
 * Returns VOIP_PUSH_OK.
 *
 * Ownership: the strings stay yours and are not kept.
 * Threads: any, also at the same time.
 * Fork: usable before and after; each process opens the token store for itself.
 * Blocks: on the disk, and up to 5 seconds while another process locks the token store.
 * Errors: TOO_MANY_DEVICES, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use),
 * STORE, INTERNAL.
 */
int32_t register_token(const char *user,
                       const char *token,
                       const char *platform);

/**
 * Counts a user's devices, and gives token and platform ("ios" or "android") of the one
 * that was registered last.
 *
 * Both texts are stored, each with its NUL, or neither: where one does not fit, no buffer is
 * touched. *token_len and *platform_len get the lengths in both cases, without the NUL; in
 * all other failures they become 0. Both pointers may be NULL. A buffer may be NULL with
 * capacity 0 where the text is not wanted; with both NULL the call only counts and
 * measures. A token has at most 4096 bytes.
 *
 * Returns the number of devices, at least 1.
 *
 * Ownership: all memory stays yours; it is written during the call only. The buffers must
 * not overlap.
 * Threads: any, also at the same time.
 * Fork: usable before and after; each process opens the token store for itself.
 * Blocks: on the disk, and while another thread of this process is writing.
 * Errors: NO_DEVICE, BUFFER_TOO_SMALL, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on
 * first use), STORE, INTERNAL.
 */
int32_t lookup_token(const char *user,
                     char *token,
                     size_t token_cap,
                     size_t *token_len,
                     char *platform,
                     size_t platform_cap,
                     size_t *platform_len);

/**
 * Forgets all devices of a user.
 *
 * Returns how many there were, at least 1.
 *
 * Ownership: user stays yours and is not kept.
 * Threads: any, also at the same time.
 * Fork: usable before and after; each process opens the token store for itself.
 * Blocks: on the disk, and up to 5 seconds while another process locks the token store.
 * Errors: NO_DEVICE, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use), STORE,
 * INTERNAL.
 */
int32_t delete_token(const char *user);

/**
 * Stores a device, in place of the one of this user that has the same device id. All that was
 * said of that one before is forgotten. Whoever had the same token before loses it: a token
 * belongs to one user and one device.
 *
 * Returns VOIP_PUSH_OK.
 *
 * Ownership: structure and strings stay yours and are not kept.
 * Threads: any, also at the same time.
 * Fork: usable before and after; each process opens the token store for itself.
 * Blocks: on the disk, and up to 5 seconds while another process locks the token store.
 * Errors: TOO_MANY_DEVICES, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use),
 * STORE, INTERNAL.
 */
int32_t register_device(const voip_push_device *device);

/**
 * Forgets one device of a user: the one with this device id, or with "" the one that was
 * registered without one. delete_token forgets them all.
 *
 * Returns 1.
 *
 * Ownership: the strings stay yours and are not kept.
 * Threads: any, also at the same time.
 * Fork: usable before and after; each process opens the token store for itself.
 * Blocks: on the disk, and up to 5 seconds while another process locks the token store.
 * Errors: NO_DEVICE, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use), STORE,
 * INTERNAL.
 */
int32_t delete_device(const char *user,
                      const char *device_id);

/**
 * Pushes a call to every device of the callee and waits for the providers' answers, at most
 * call.wait_ms. A token that its provider calls dead is deleted.
 *
 * user is the callee as it was registered. caller is the value of a From header, such as
 * "Alice" <sip:+4930123@example.org>;tag=x, or a SIP or tel URI, of which name, number and
 * host are taken; any other text is what the phone shows, a name or a number. Control
 * characters become spaces, and a part longer than 256 bytes is cut. call_id is the SIP Call-ID, at most 512 bytes; the same Call-ID gives the app the same
 * call UUID on every device. A device gets a call once: who asks again while the phone
 * may ring is told what became of the first push. It is an audio call; send_voip_push_with
 * tells of a video call.
 *
 * Returns the number of devices whose provider accepted the push, at least 1. Whatever comes
 * back, let the SIP call go on: a negative status only says that no phone is known to wake.
 *
 * Ownership: the strings stay yours and are not kept.
 * Threads: any, also at the same time.
 * Fork: usable before and after; each process has connections of its own.
 * Blocks: up to call.wait_ms, and on the disk as lookup_token does.
 * Errors: NO_DEVICE, ALL_REJECTED, NO_ANSWER, CREDENTIAL_REFUSED, QUEUE_FULL, SENDER_GONE,
 * NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use), STORE, INTERNAL.
 */
int32_t send_voip_push(const char *user,
                       const char *caller,
                       const char *call_id);

/**
 * send_voip_push for a call that may have pictures.
 *
 * media is "audio" or "video"; NULL or "" means audio. user, caller and call_id are as in
 * send_voip_push.
 *
 * Returns the number of devices whose provider accepted the push, at least 1.
 *
 * Ownership: the strings stay yours and are not kept.
 * Threads: any, also at the same time.
 * Fork: usable before and after; each process has connections of its own.
 * Blocks: up to call.wait_ms, and on the disk as lookup_token does.
 * Errors: NO_DEVICE, ALL_REJECTED, NO_ANSWER, CREDENTIAL_REFUSED, QUEUE_FULL, SENDER_GONE,
 * NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use), STORE, INTERNAL.
 */
int32_t send_voip_push_with(const char *user,
                            const char *caller,
                            const char *call_id,
                            const char *media);

/**
 * send_voip_push for one device that you name, for programs that keep the tokens themselves: the
 * token store is neither asked nor changed.
 *
 * provider is "apns" or "fcm". token is the provider's token of the device. app is the
 * APNs topic or the Firebase project; NULL or "" means the first one in the configuration.
 * user, caller and call_id are as in send_voip_push.
 *
 * Returns 1. After ALL_REJECTED the last error holds the provider's answer; "token_gone"
 * in it means that the token is dead and should be deleted.
 *
 * Ownership: the strings stay yours and are not kept.
 * Threads: any, also at the same time.
 * Fork: usable before and after; each process has connections of its own.
 * Blocks: up to call.wait_ms.
 * Errors: ALL_REJECTED, NO_ANSWER, CREDENTIAL_REFUSED, QUEUE_FULL, SENDER_GONE, NULL_POINTER,
 * INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first use), STORE, INTERNAL.
 */
int32_t send_voip_push_to(const char *provider,
                          const char *token,
                          const char *app,
                          const char *user,
                          const char *caller,
                          const char *call_id);

/**
 * Says that a call is over. What was not sent yet of its pushes is given up, retries too, and the
 * devices that were pushed for it are told, as far as they can be: an Android phone by an FCM data
 * message, unless the profile of its app has no word for it (linphone, some templates). An iPhone
 * never gets a second VoIP push, for which Apple would end the app; where
 * call.missed_call_alert is set, one that registered a token for alerts shows a missed call.
 * Devices that were not pushed for this call by this program within five minutes, and calls that
 * nobody knows, are nothing to it.
 *
 * user and call_id are as in send_voip_push. reason is "cancelled" (the caller has hung up, or
 * nobody has answered), "answered elsewhere" or "declined elsewhere".
 *
 * Returns VOIP_PUSH_OK; nobody waits for the providers.
 *
 * Ownership: the strings stay yours and are not kept.
 * Threads: any, also at the same time.
 * Fork: usable before and after; each process has connections of its own, and knows only the
 * calls that it has pushed itself.
 * Blocks: on the disk as lookup_token does.
 * Errors: QUEUE_FULL, SENDER_GONE, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT, CONFIG (on first
 * use), STORE, INTERNAL.
 */
int32_t cancel_voip_push(const char *user,
                         const char *call_id,
                         const char *reason);

/**
 * Hands a call's pushes over and leaves: nobody is told what became of them, but the log and
 * the counters. Retries and dead tokens are dealt with as in send_voip_push.
 *
 * Returns the number of devices that are being pushed to, at least 1.
 *
 * Ownership: the strings stay yours and are not kept.
 * Threads: any, also at the same time.
 * Fork: usable before and after; each process has connections of its own.
 * Blocks: on the disk as lookup_token does, never on the network.
 * Errors: NO_DEVICE, QUEUE_FULL, SENDER_GONE, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT,
 * CONFIG (on first use), STORE, INTERNAL.
 */
int32_t queue_voip_push(const char *user,
                        const char *caller,
                        const char *call_id);

/**
 * Hands a call's pushes over and leaves; *fd becomes readable when send_voip_push would have
 * come back, at the latest after call.wait_ms. Watch it with poll, select or epoll, read
 * nothing from it, and collect the result with voip_push_async_result.
 *
 * Returns the number of devices that are being pushed to, at least 1. *fd is -1 after a
 * negative status.
 *
 * Ownership: the strings stay yours and are not kept. The descriptor stays the library's:
 * voip_push_async_result closes it, you must not.
 * Threads: any, also at the same time.
 * Fork: a child cannot collect what its parent asked for.
 * Blocks: on the disk as lookup_token does, never on the network.
 * Errors: NO_DEVICE, QUEUE_FULL, SENDER_GONE, NULL_POINTER, INVALID_UTF8, BAD_ARGUMENT,
 * CONFIG (on first use), STORE, INTERNAL (also when no descriptor is left).
 */
int32_t send_voip_push_async(const char *user,
                             const char *caller,
                             const char *call_id,
                             int * fd);

/**
 * Collects the result of send_voip_push_async, once.
 *
 * fd is the descriptor that send_voip_push_async gave. When it was not readable yet, the
 * status is NOT_READY and the descriptor stays; otherwise it is closed.
 *
 * Returns what send_voip_push would have returned: the number of devices whose provider
 * accepted the push, at least 1.
 *
 * Ownership: the descriptor is closed unless the status is NOT_READY or BAD_ARGUMENT.
 * Threads: any; of two calls at once for one descriptor, one gets BAD_ARGUMENT.
 * Fork: only in the process that asked.
 * Blocks: never.
 * Errors: NOT_READY, BAD_ARGUMENT (no call has this descriptor), NO_DEVICE, ALL_REJECTED,
 * NO_ANSWER, CREDENTIAL_REFUSED, INTERNAL.
 */
int32_t voip_push_async_result(int32_t fd);

/**
 * All counters, of this process and of those that it was forked from or has forked, as
 * Prometheus' text format 0.0.4: pushes by provider, app and outcome, what is queued, a
 * histogram of the time from hand-over to the end of a push, and more.
 *
 * text gets the text with its NUL, or nothing where it does not fit; *text_len gets its
 * length in both cases, which grows by a digit now and then, so leave some room. text may
 * be NULL with capacity 0 to measure only.
 *
 * Returns VOIP_PUSH_OK.
 *
 * Ownership: all memory stays yours; it is written during the call only.
 * Threads: any, also at the same time.
 * Fork: counters are shared with children that were forked after the library started.
 * Blocks: never.
 * Errors: BUFFER_TOO_SMALL, NULL_POINTER, CONFIG (on first use), INTERNAL.
 */
int32_t voip_push_stats(char *text, size_t text_cap, size_t *text_len);

/**
 * What went wrong in this thread's last call, as one line of UTF-8: which argument, file or
 * provider it was about and what to do. It is cut at 1023 bytes and never holds a token, a
 * key or a phone number, so it may be logged.
 *
 * Returns the text, never NULL; it is "" when the last call succeeded. This function and
 * the two below do not count as calls.
 *
 * Ownership: the text belongs to the library; it stays as it is until this thread's next
 * call or its end. Copy what you need longer, and do not free it.
 * Threads: every thread has its own.
 * Fork: a child starts with the text of the thread that forked it.
 * Blocks: never.
 * Errors: none.
 */
const char *voip_push_last_error(void);

/**
 * The name of a status, for logs: "VOIP_PUSH_ERR_NO_DEVICE" for -401, "VOIP_PUSH_OK" for 0
 * and every count, "unknown status" for a number that this version does not know.
 *
 * Returns the name, never NULL.
 *
 * Ownership: the text is constant and there as long as the library; do not free it.
 * Threads: any.
 * Fork: no difference.
 * Blocks: never.
 * Errors: none.
 */
const char *voip_push_status_name(int32_t status);

/**
 * The version of the library that is running, such as "0.1.0". The version that your
 * program was compiled for is in VOIP_PUSH_VERSION_MAJOR, _MINOR and _PATCH.
 *
 * Returns the version, never NULL.
 *
 * Ownership: the text is constant and there as long as the library; do not free it.
 * Threads: any.
 * Fork: no difference.
 * Blocks: never.
 * Errors: none.
 */
const char *voip_push_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* VOIP_PUSH_H */
