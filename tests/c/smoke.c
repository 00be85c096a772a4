/* A first program with voip_push: what to call, and how to see what happened.
 *
 *     cc -o smoke smoke.c -lvoip_push
 *     ./smoke /etc/voip-push/voip-push.toml
 */
#include <stdio.h>
#include <voip_push.h>

/* 64 hexadecimal digits, as PushKit hands them to an app. */
static const char TOKEN[] = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

static int32_t show(const char *function, int32_t result)
{
    if (result < 0)
        printf("%s: %s: %s\n", function, voip_push_status_name(result), voip_push_last_error());
    else
        printf("%s: %d\n", function, (int)result);
    return result;
}

static int try_everything(void)
{
    char token[4097]; /* no token is longer than 4096 bytes */
    char platform[16];
    size_t token_len;

    if (show("register_token", register_token("alice", TOKEN, "ios")) < 0)
        return 1;
    if (show("lookup_token", lookup_token("alice", token, sizeof token, &token_len, platform,
                                          sizeof platform, NULL)) < 0)
        return 1;
    printf("alice's newest device runs %s, its token has %d bytes\n", platform, (int)token_len);

    /* Whatever these two say, the SIP call goes on. */
    show("send_voip_push", send_voip_push("alice", "Bob", "a84b4c76e66710@pc33.example.org"));
    show("send_voip_push_to",
         send_voip_push_to("apns", TOKEN, NULL, "alice", "Bob", "a84b4c76e66711@pc33.example.org"));

    /* The caller has hung up. */
    show("cancel_voip_push", cancel_voip_push("alice", "a84b4c76e66710@pc33.example.org", "cancelled"));

    return show("delete_token", delete_token("alice")) < 0;
}

int main(int argc, char **argv)
{
    int failed;

    printf("voip_push %s\n", voip_push_version());
    if (show("voip_push_init", voip_push_init(argc > 1 ? argv[1] : NULL)) < 0)
        return 1;
    failed = try_everything();
    show("voip_push_shutdown", voip_push_shutdown());
    return failed;
}
