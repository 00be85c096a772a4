/* lookup_token with every capacity from 0 to one more than needed, for both buffers: all or nothing, the needed
 * lengths always, and not one byte beside.
 *
 *     buffers CONFIG
 */
#include "check.h"

enum { CANARY = 8, ROOM = 256 };

/* A buffer with canaries on both sides. */
struct guarded {
    char bytes[CANARY + ROOM + CANARY];
};

static char *fill(struct guarded *buffer)
{
    memset(buffer->bytes, '#', sizeof buffer->bytes);
    return buffer->bytes + CANARY;
}

/* Holds the text with its NUL and nothing else, or nothing at all. */
static void check_holds(const struct guarded *buffer, const char *text)
{
    size_t written = text != NULL ? strlen(text) + 1 : 0;
    size_t i;

    if (text != NULL)
        CHECK(memcmp(buffer->bytes + CANARY, text, written) == 0);
    for (i = 0; i < sizeof buffer->bytes; i++)
        if (i < CANARY || i >= CANARY + written)
            CHECK(buffer->bytes[i] == '#');
}

static void check_caps(const char *user, const char *token, const char *platform, size_t token_cap,
                       size_t platform_cap)
{
    struct guarded token_buffer, platform_buffer;
    size_t token_len = 4711, platform_len = 4711;
    char *token_out = fill(&token_buffer), *platform_out = fill(&platform_buffer);
    int fits = token_cap > strlen(token) && platform_cap > strlen(platform);

    CHECK_IS(lookup_token(user, token_out, token_cap, &token_len, platform_out, platform_cap, &platform_len),
             fits ? 1 : VOIP_PUSH_ERR_BUFFER_TOO_SMALL);
    CHECK(token_len == strlen(token) && platform_len == strlen(platform));
    check_holds(&token_buffer, fits ? token : NULL);
    check_holds(&platform_buffer, fits ? platform : NULL);
    if (!fits)
        CHECK(strncmp(voip_push_last_error(), token_cap <= strlen(token) ? "token: " : "platform: ", 7) == 0);
    /* The lengths are optional and change nothing. */
    fill(&token_buffer);
    fill(&platform_buffer);
    CHECK_IS(lookup_token(user, token_out, token_cap, NULL, platform_out, platform_cap, NULL),
             fits ? 1 : VOIP_PUSH_ERR_BUFFER_TOO_SMALL);
    check_holds(&token_buffer, fits ? token : NULL);
    check_holds(&platform_buffer, fits ? platform : NULL);
}

static void check_all_caps(const char *user, const char *token, const char *platform)
{
    size_t token_cap, platform_cap;

    CHECK_IS(register_token(user, token, platform), VOIP_PUSH_OK);
    for (token_cap = 0; token_cap <= strlen(token) + 2; token_cap++)
        check_caps(user, token, platform, token_cap, strlen(platform) + 1);
    for (platform_cap = 0; platform_cap <= strlen(platform) + 2; platform_cap++)
        for (token_cap = strlen(token); token_cap <= strlen(token) + 2; token_cap++)
            check_caps(user, token, platform, token_cap, platform_cap);
}

/* A NULL buffer of capacity 0 means that the text is not wanted. */
static void check_unwanted(void)
{
    struct guarded buffer;
    size_t token_len = 4711, platform_len = 4711;
    char *out = fill(&buffer);

    CHECK_IS(lookup_token("alice", NULL, 0, &token_len, NULL, 0, &platform_len), 1);
    CHECK(token_len == strlen(APNS_TOKEN) && platform_len == 3);
    CHECK_IS(lookup_token("alice", NULL, 0, NULL, NULL, 0, NULL), 1);
    CHECK_IS(lookup_token("alice", NULL, 0, NULL, out, ROOM, NULL), 1);
    check_holds(&buffer, "ios");
    out = fill(&buffer);
    CHECK_IS(lookup_token("alice", out, ROOM, NULL, NULL, 0, NULL), 1);
    check_holds(&buffer, APNS_TOKEN);
    out = fill(&buffer);
    CHECK_IS(lookup_token("alice", out, 3, &token_len, NULL, 0, NULL), VOIP_PUSH_ERR_BUFFER_TOO_SMALL);
    check_holds(&buffer, NULL);
}

/* How long the text is that comes back, one asks first. */
static void check_ask_then_fetch(void)
{
    size_t token_len;
    char *token;

    CHECK_IS(lookup_token("bob", NULL, 0, &token_len, NULL, 0, NULL), 1);
    token = (char *)malloc(token_len + 1);
    CHECK(token != NULL);
    CHECK_IS(lookup_token("bob", token, token_len + 1, NULL, NULL, 0, NULL), 1);
    CHECK(strcmp(token, FCM_TOKEN) == 0);
    free(token);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    CHECK_IS(voip_push_init(argv[1]), VOIP_PUSH_OK);
    check_all_caps("alice", APNS_TOKEN, "ios");
    check_all_caps("bob", FCM_TOKEN, "android");
    check_unwanted();
    check_ask_then_fetch();
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    return 0;
}
