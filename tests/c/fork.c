/* A server forks: the children work without any call of their own, and so do their children. "early" forks after
 * init and before anything else, as a SIP server does; "late" forks when the library is in full use.
 *
 *     fork CONFIG early|late
 */
#define _XOPEN_SOURCE 700
#include "check.h"
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHILDREN = 4 };

static void work_as(const char *user)
{
    char call_id[64];

    snprintf(call_id, sizeof call_id, "%s-%d@example.org", user, (int)getpid());
    CHECK_IS(register_iphone_of(user), VOIP_PUSH_OK);
    CHECK_IS(lookup_token(user, NULL, 0, NULL, NULL, 0, NULL), 1);
    CHECK_PUSH(send_voip_push(user, "Bob", call_id));
}

static void check_exit(pid_t child)
{
    int status = -1;

    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static pid_t fork_worker(const char *user, int generations)
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        if (generations > 1) {
            work_as(user);
            check_exit(fork_worker(user, generations - 1));
        }
        work_as(user);
        exit(0);
    }
    return child;
}

/* The parent counts a device for each child. */
static void fork_and_count(const char *prefix, int generations)
{
    pid_t children[CHILDREN];
    char user[32];
    int32_t devices = 0;
    int i;

    for (i = 0; i < CHILDREN; i++) {
        snprintf(user, sizeof user, "%s%d", prefix, i);
        children[i] = fork_worker(user, generations);
    }
    for (i = 0; i < CHILDREN; i++)
        check_exit(children[i]);
    for (i = 0; i < CHILDREN; i++) {
        snprintf(user, sizeof user, "%s%d", prefix, i);
        devices += lookup_token(user, NULL, 0, NULL, NULL, 0, NULL);
    }
    CHECK(devices == CHILDREN);
}

/* A child's shutdown is its own affair. */
static void fork_a_leaver(void)
{
    pid_t child = fork();

    CHECK(child >= 0);
    if (child == 0) {
        work_as("leaver");
        CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
        work_as("leaver"); /* with VOIP_PUSH_CONFIG it starts again by itself */
        exit(0);
    }
    check_exit(child);
}

int main(int argc, char **argv)
{
    CHECK(argc == 3);
    CHECK_IS(voip_push_init(argv[1]), VOIP_PUSH_OK);
    setenv("VOIP_PUSH_CONFIG", argv[1], 1);
    if (strcmp(argv[2], "late") == 0) {
        work_as("parent");
        fork_and_count("late", 2);
        work_as("parent");
        fork_a_leaver();
    } else {
        fork_and_count("early", 1);
    }
    work_as("parent");
    CHECK_IS(voip_push_init(argv[1]), VOIP_PUSH_ERR_ALREADY_INITIALISED);
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    return 0;
}
