/* What the test programs share: CHECK prints the place and exits 1. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <voip_push.h>

#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "%s:%d: not so: %s (last error: \"%s\")\n", __FILE__, __LINE__,  \
                    #condition, voip_push_last_error());                                     \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

#define CHECK_IS(call, expected) check_is(__FILE__, __LINE__, #call, (call), (expected))

static inline void check_is(const char *file, int line, const char *call, int32_t got, int32_t expected)
{
    if (got == expected)
        return;
    fprintf(stderr, "%s:%d: %s gave %d (%s: \"%s\"), not %d (%s)\n", file, line, call, (int)got,
            voip_push_status_name(got), voip_push_last_error(), (int)expected,
            voip_push_status_name(expected));
    exit(1);
}

/* A push to one device. On a starved machine, or under valgrind, the first one may not be answered in time;
 * PATIENCE in the environment says how often it is tried again. */
#define CHECK_PUSH(call)                                                                     \
    do {                                                                                     \
        const char *patience = getenv("PATIENCE");                                           \
        int tries = patience != NULL ? atoi(patience) : 0;                                   \
        int32_t accepted;                                                                    \
                                                                                             \
        do                                                                                   \
            accepted = (call);                                                               \
        while (accepted == VOIP_PUSH_ERR_NO_ANSWER && tries-- > 0);                          \
        check_is(__FILE__, __LINE__, #call, accepted, 1);                                    \
    } while (0)

/* What neither a last error nor a log line may ever show; the test driver looks for it as well. */
#define SECRET "secret4711"

/* As PushKit hands it to an app, and as Firebase does. */
#define APNS_TOKEN "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"
#define FCM_TOKEN                                                                            \
    "bk3RNwTe3H0:CI2k_HHwgIpoDKCIZvvDMExUdFQ3P1-x0123456789abcdefghijklmnopqrstuvwxyz_ABCDEF" \
    "GHIJKLMNOPQRSTUVWXYZ-0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ"

/* An iPhone's token for each user: a token has one owner. */
static inline int32_t register_iphone_of(const char *user)
{
    unsigned long long hash = 14695981039346656037ULL; /* FNV-1a */
    char token[65];
    const char *at;

    for (at = user; *at != '\0'; at++)
        hash = (hash ^ (unsigned char)*at) * 1099511628211ULL;
    snprintf(token, sizeof token, "%016llx%016llx%016llx%016llx", hash, hash, hash, hash);
    return register_token(user, token, "ios");
}

#endif
