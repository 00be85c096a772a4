/* Pushing without waiting: an event loop with many calls under way, results collected once, counters read. */
#include "check.h"
#include <poll.h>

#define CALLS 16

static struct pollfd watched[CALLS];

static void start(int number)
{
    char call_id[32];

    snprintf(call_id, sizeof call_id, "async-%d", number);
    CHECK_IS(send_voip_push_async("alice", "Bob", call_id, &watched[number].fd), 1);
    watched[number].events = POLLIN;
    CHECK(watched[number].fd >= 0);
}

static int collect(int number)
{
    int fd = watched[number].fd;

    if (!(watched[number].revents & POLLIN))
        return 0;
    CHECK_IS(voip_push_async_result(fd), 1);
    CHECK_IS(voip_push_async_result(fd), VOIP_PUSH_ERR_BAD_ARGUMENT);
    watched[number].fd = -1;
    return 1;
}

static void many_calls_at_once(void)
{
    int number;
    int collected = 0;

    for (number = 0; number < CALLS; number++)
        start(number);
    while (collected < CALLS) {
        CHECK(poll(watched, CALLS, 60000) > 0);
        for (number = 0; number < CALLS; number++)
            collected += collect(number);
    }
}

static void what_is_wrong_is_told_at_once(void)
{
    int fd = 7;

    CHECK_IS(send_voip_push_async("nobody", "Bob", "c", &fd), VOIP_PUSH_ERR_NO_DEVICE);
    CHECK(fd == -1);
    CHECK_IS(send_voip_push_async("alice", "Bob", "c", NULL), VOIP_PUSH_ERR_NULL_POINTER);
    CHECK_IS(send_voip_push_async(NULL, "Bob", "c", &fd), VOIP_PUSH_ERR_NULL_POINTER);
    CHECK_IS(voip_push_async_result(-1), VOIP_PUSH_ERR_BAD_ARGUMENT);
    CHECK_IS(voip_push_async_result(0), VOIP_PUSH_ERR_BAD_ARGUMENT);
    CHECK_IS(queue_voip_push("nobody", "Bob", "c"), VOIP_PUSH_ERR_NO_DEVICE);
    CHECK_IS(queue_voip_push("alice", NULL, "c"), VOIP_PUSH_ERR_NULL_POINTER);
}

static void the_counters_tell(void)
{
    static char text[65536];
    size_t len = 0;

    CHECK_IS(voip_push_stats(NULL, 0, &len), VOIP_PUSH_OK);
    CHECK(len > 0 && len + 1 < sizeof text);
    CHECK_IS(voip_push_stats(text, 10, &len), VOIP_PUSH_ERR_BUFFER_TOO_SMALL);
    CHECK(text[0] == '\0');
    CHECK_IS(voip_push_stats(text, sizeof text, NULL), VOIP_PUSH_OK);
    CHECK(strstr(text, "voip_push_registered_total 1\n") != NULL);
    CHECK(strstr(text, "voip_push_push_seconds_count{provider=\"apns\"}") != NULL);
}

int main(int argc, char **argv)
{
    CHECK(argc > 1);
    CHECK_IS(voip_push_init(argv[1]), VOIP_PUSH_OK);
    CHECK_IS(register_token("alice", APNS_TOKEN, "ios"), VOIP_PUSH_OK);
    /* Warms the connection, which takes long under valgrind. */
    CHECK_PUSH(send_voip_push("alice", "Bob", "warm"));
    many_calls_at_once();
    what_is_wrong_is_told_at_once();
    CHECK_IS(queue_voip_push("alice", "Bob", "queued"), 1);
    the_counters_tell();
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    return 0;
}
