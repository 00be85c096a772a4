/* Every argument of every function, wrong in every way: each gets the documented status and a last error that
 * names the argument and never holds the value.
 *
 *     bad_input CONFIG
 */
#include "check.h"

enum { MAX_ARGS = 6, HUGE_LEN = 65536 };

/* What an argument that only has to be text gets, however odd it is. */
#define FINE 1

struct argument {
    const char *name;
    const char *good;
    int32_t when_null;
    int32_t when_empty;
    int32_t when_odd;
};

struct function {
    const char *name;
    int32_t (*call)(const char *const *args);
    int32_t success;
    int count;
    struct argument args[MAX_ARGS];
};

static int32_t call_register(const char *const *a)
{
    return register_token(a[0], a[1], a[2]);
}

static int32_t call_lookup(const char *const *a)
{
    char token[4097], platform[16];
    size_t token_len = 4711, platform_len = 4711;
    int32_t result;

    memset(token, '#', sizeof token);
    memset(platform, '#', sizeof platform);
    result = lookup_token(a[0], token, sizeof token, &token_len, platform, sizeof platform, &platform_len);
    if (result < 0) {
        CHECK(token_len == 0 && platform_len == 0);
        CHECK(token[0] == '#' && platform[0] == '#');
    }
    return result;
}

static int32_t call_delete(const char *const *a)
{
    int32_t deleted = delete_token(a[0]);

    if (deleted > 0) /* the next round needs it again */
        CHECK_IS(register_token(a[0], APNS_TOKEN, "ios"), VOIP_PUSH_OK);
    return deleted;
}

static int32_t call_send(const char *const *a)
{
    return send_voip_push(a[0], a[1], a[2]);
}

static int32_t call_send_with(const char *const *a)
{
    return send_voip_push_with(a[0], a[1], a[2], a[3]);
}

static int32_t call_send_to(const char *const *a)
{
    return send_voip_push_to(a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int32_t call_cancel(const char *const *a)
{
    return cancel_voip_push(a[0], a[1], a[2]);
}

#define REFUSED(name, good) \
    {name, good, VOIP_PUSH_ERR_NULL_POINTER, VOIP_PUSH_ERR_BAD_ARGUMENT, VOIP_PUSH_ERR_BAD_ARGUMENT}
#define CALLER {"caller", "Bob", VOIP_PUSH_ERR_NULL_POINTER, FINE, FINE}
#define APP {"app", "org.example.phone.voip", FINE, FINE, VOIP_PUSH_ERR_BAD_ARGUMENT}
#define MEDIA {"media", "video", FINE, FINE, VOIP_PUSH_ERR_BAD_ARGUMENT}
#define NONE {NULL, NULL, 0, 0, 0}

static const struct function FUNCTIONS[] = {
    {"register_token", call_register, VOIP_PUSH_OK, 3,
     {REFUSED("user", "alice"), REFUSED("token", APNS_TOKEN), REFUSED("platform", "ios"), NONE, NONE, NONE}},
    {"lookup_token", call_lookup, 1, 1, {REFUSED("user", "alice"), NONE, NONE, NONE, NONE, NONE}},
    {"delete_token", call_delete, 1, 1, {REFUSED("user", "alice"), NONE, NONE, NONE, NONE, NONE}},
    {"send_voip_push", call_send, 1, 3,
     {REFUSED("user", "alice"), CALLER, REFUSED("call_id", "c1@example.org"), NONE, NONE, NONE}},
    {"send_voip_push_with", call_send_with, 1, 4,
     {REFUSED("user", "alice"), CALLER, REFUSED("call_id", "c3@example.org"), MEDIA, NONE, NONE}},
    {"send_voip_push_to", call_send_to, 1, 6,
     {REFUSED("provider", "apns"), REFUSED("token", APNS_TOKEN), APP, REFUSED("user", "alice"), CALLER,
      REFUSED("call_id", "c2@example.org")}},
    {"cancel_voip_push", call_cancel, VOIP_PUSH_OK, 3,
     {REFUSED("user", "alice"), REFUSED("call_id", "c4@example.org"), REFUSED("reason", "cancelled"), NONE, NONE,
      NONE}},
};

static void check_last_error(const char *starts_with)
{
    const char *text = voip_push_last_error();

    CHECK(strstr(text, SECRET) == NULL);
    CHECK(strpbrk(text, "\r\n\t\x01\x7f") == NULL);
    CHECK(strlen(text) < 1024);
    CHECK(strncmp(text, starts_with, strlen(starts_with)) == 0);
}

static void check_call(const struct function *function, int wrong, const char *value, int32_t expected)
{
    const char *args[MAX_ARGS] = {NULL, NULL, NULL, NULL, NULL, NULL};
    char name[32];
    int32_t result;
    int i;

    for (i = 0; i < function->count; i++)
        args[i] = function->args[i].good;
    if (wrong >= 0)
        args[wrong] = value;
    if (expected == FINE)
        expected = function->success;
    result = function->call(args);
    if (result != expected)
        fprintf(stderr, "%s, argument %d:\n", function->name, wrong);
    CHECK_IS(result, expected);
    if (result >= 0) {
        CHECK(voip_push_last_error()[0] == '\0');
    } else if (result > VOIP_PUSH_ERR_CONFIG) { /* the family of the arguments */
        snprintf(name, sizeof name, "%s:", function->args[wrong].name);
        check_last_error(name);
    } else {
        check_last_error("");
        CHECK(voip_push_last_error()[0] != '\0');
    }
}

static void every_argument(void)
{
    static const char *const FOREIGN[] = {
        "\xff" SECRET,             /* no such byte in UTF-8 */
        SECRET "\xc3",             /* half a character */
        "a\xc0\xaf" SECRET,        /* overlong */
        "a\xed\xa0\x80" SECRET,    /* half a surrogate pair */
        "a\xf4\x90\x80\x80" SECRET /* beyond Unicode */
    };
    static const char *const ODD[] = {
        SECRET "\r\nVia: x", SECRET "\x01", SECRET "\x7f\t", SECRET "\xc2\x85", "\x1b[2J" SECRET, " 4711",
    };
    char *huge = (char *)malloc(HUGE_LEN + 1);
    size_t f, v;
    int i;

    CHECK(huge != NULL);
    memset(huge, 'x', HUGE_LEN);
    memcpy(huge, SECRET, strlen(SECRET));
    huge[HUGE_LEN] = '\0';
    for (f = 0; f < sizeof FUNCTIONS / sizeof FUNCTIONS[0]; f++) {
        const struct function *function = &FUNCTIONS[f];

        check_call(function, -1, NULL, function->success);
        for (i = 0; i < function->count; i++) {
            const struct argument *argument = &function->args[i];

            check_call(function, i, NULL, argument->when_null);
            check_call(function, i, "", argument->when_empty);
            check_call(function, i, huge, argument->when_odd);
            for (v = 0; v < sizeof FOREIGN / sizeof FOREIGN[0]; v++)
                check_call(function, i, FOREIGN[v], VOIP_PUSH_ERR_INVALID_UTF8);
            for (v = 0; v < sizeof ODD / sizeof ODD[0]; v++) {
                /* A Call-ID may hold spaces for all that we know; and it is what log lines are found by. */
                if (ODD[v][0] == ' ' && strcmp(argument->name, "call_id") == 0)
                    check_call(function, i, ODD[v], FINE);
                else
                    check_call(function, i, ODD[v], argument->when_odd);
            }
        }
        check_call(function, -1, NULL, function->success);
    }
    free(huge);
}

static void values_that_only_look_right(void)
{
    CHECK_IS(register_token("alice", APNS_TOKEN, "windows"), VOIP_PUSH_ERR_BAD_ARGUMENT);
    check_last_error("platform: is neither ios nor android");
    CHECK_IS(register_token("alice", "fcm_token_here", "android"), VOIP_PUSH_ERR_BAD_ARGUMENT);
    check_last_error("token:");
    CHECK_IS(register_token("alice", "abcd" SECRET, "ios"), VOIP_PUSH_ERR_BAD_ARGUMENT);
    check_last_error("token:");
    CHECK_IS(register_token("$var(alice)\"", APNS_TOKEN, "ios"), VOIP_PUSH_ERR_BAD_ARGUMENT);
    check_last_error("user:");
    CHECK_IS(send_voip_push_to("adm", APNS_TOKEN, NULL, "alice", "Bob", "c"), VOIP_PUSH_ERR_BAD_ARGUMENT);
    check_last_error("provider: is neither apns nor fcm");
    CHECK_IS(send_voip_push_to("apns", FCM_TOKEN, NULL, "alice", "Bob", "c"), VOIP_PUSH_ERR_BAD_ARGUMENT);
    check_last_error("token:");
    CHECK_IS(send_voip_push_to("apns", APNS_TOKEN, "org.example.other.voip", "alice", "Bob", "c"),
             VOIP_PUSH_ERR_CREDENTIAL_REFUSED);
    CHECK_IS(send_voip_push("nobody" SECRET, "Bob", "c"), VOIP_PUSH_ERR_NO_DEVICE);
    check_last_error("no device");
    CHECK_IS(lookup_token("nobody" SECRET, NULL, 0, NULL, NULL, 0, NULL), VOIP_PUSH_ERR_NO_DEVICE);
    CHECK_IS(delete_token("nobody" SECRET), VOIP_PUSH_ERR_NO_DEVICE);
}

static void wrong_buffers(void)
{
    char text[4097];
    size_t token_len = 1, platform_len = 1;

    CHECK_IS(lookup_token("alice", NULL, 10, &token_len, text, sizeof text, &platform_len),
             VOIP_PUSH_ERR_NULL_POINTER);
    check_last_error("token: is NULL");
    CHECK(token_len == 0 && platform_len == 0);
    CHECK_IS(lookup_token("alice", text, sizeof text, NULL, NULL, 1, NULL), VOIP_PUSH_ERR_NULL_POINTER);
    check_last_error("platform: is NULL");
}

static void before_init(void)
{
    static char huge[HUGE_LEN + 1];

    memset(huge, 'x', HUGE_LEN);
    CHECK_IS(voip_push_init("\xff" SECRET), VOIP_PUSH_ERR_INVALID_UTF8);
    check_last_error("path: is not valid UTF-8");
    CHECK_IS(voip_push_init(""), VOIP_PUSH_ERR_BAD_ARGUMENT);
    check_last_error("path: is empty");
    CHECK_IS(voip_push_init("/nowhere/voip-push.toml"), VOIP_PUSH_ERR_CONFIG);
    check_last_error("/nowhere/voip-push.toml: config: ");
    CHECK_IS(voip_push_init("/"), VOIP_PUSH_ERR_CONFIG);
    CHECK_IS(voip_push_init("a\nb\x01"), VOIP_PUSH_ERR_CONFIG);
    check_last_error("a b : config: ");
    CHECK_IS(voip_push_init(huge), VOIP_PUSH_ERR_CONFIG);
    check_last_error("xxx");
}

static void numbers_as_values(void)
{
    CHECK(strcmp(voip_push_status_name(VOIP_PUSH_ERR_NO_DEVICE), "VOIP_PUSH_ERR_NO_DEVICE") == 0);
    CHECK(strcmp(voip_push_status_name(0), "VOIP_PUSH_OK") == 0);
    CHECK(strcmp(voip_push_status_name(INT32_MAX), "VOIP_PUSH_OK") == 0);
    CHECK(strcmp(voip_push_status_name(-1), "unknown status") == 0);
    CHECK(strcmp(voip_push_status_name(INT32_MIN), "unknown status") == 0);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    before_init();
    CHECK_IS(voip_push_init(argv[1]), VOIP_PUSH_OK);
    CHECK_IS(voip_push_init(argv[1]), VOIP_PUSH_ERR_ALREADY_INITIALISED);
    CHECK_IS(register_token("alice", APNS_TOKEN, "ios"), VOIP_PUSH_OK);
    CHECK_PUSH(send_voip_push("alice", "Bob", "c0@example.org")); /* opens the connection */
    every_argument();
    values_that_only_look_right();
    wrong_buffers();
    numbers_as_values();
    /* Asking does not change the answer; a success does. */
    CHECK_IS(delete_token(NULL), VOIP_PUSH_ERR_NULL_POINTER);
    voip_push_version();
    voip_push_status_name(0);
    CHECK(strcmp(voip_push_last_error(), "user: is NULL") == 0);
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    CHECK(voip_push_last_error()[0] == '\0');
    return 0;
}
