/* Init, shutdown, and init again, with the same and with another file; what was started is gone after shutdown.
 *
 *     reinit CONFIG OTHER_CONFIG
 */
#define _XOPEN_SOURCE 700
#include "check.h"
#include <dirent.h>
#include <time.h>

enum { ROUNDS = 3 };

static int entries_of(const char *directory)
{
    DIR *open_directory = opendir(directory);
    int count = 0;

    CHECK(open_directory != NULL);
    while (readdir(open_directory) != NULL)
        count++;
    closedir(open_directory);
    return count;
}

/* The last threads end a moment after shutdown has come back, and their descriptors go with them. */
static void wait_for_threads(int expected)
{
    const struct timespec moment = {0, 5000000};
    int tries;

    for (tries = 0; tries < 4000 && entries_of("/proc/self/task") != expected; tries++)
        nanosleep(&moment, NULL);
    CHECK(entries_of("/proc/self/task") == expected);
}

static void a_life(const char *config)
{
    CHECK_IS(voip_push_init(config), VOIP_PUSH_OK);
    CHECK_IS(voip_push_init(config), VOIP_PUSH_ERR_ALREADY_INITIALISED);
    CHECK_IS(register_token("alice", APNS_TOKEN, "ios"), VOIP_PUSH_OK);
    CHECK_PUSH(send_voip_push("alice", "Bob", "c1@example.org"));
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
}

int main(int argc, char **argv)
{
    int files, threads, round;

    CHECK(argc == 3);
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    threads = entries_of("/proc/self/task");
    a_life(argv[1]);
    wait_for_threads(threads);
    files = entries_of("/proc/self/fd"); /* with what is made once for all lives */
    for (round = 0; round < ROUNDS; round++) {
        a_life(argv[1]);
        wait_for_threads(threads);
        CHECK(entries_of("/proc/self/fd") == files);
    }
    CHECK_IS(voip_push_init("/nowhere/voip-push.toml"), VOIP_PUSH_ERR_CONFIG);
    CHECK_IS(voip_push_init(argv[2]), VOIP_PUSH_OK);
    CHECK_IS(lookup_token("alice", NULL, 0, NULL, NULL, 0, NULL), VOIP_PUSH_ERR_NO_DEVICE);
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    CHECK_IS(voip_push_init(argv[1]), VOIP_PUSH_OK);
    CHECK_IS(lookup_token("alice", NULL, 0, NULL, NULL, 0, NULL), 1);
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    return 0;
}
