/* The configuration changes while the program runs: the process that asks for it follows, and so do a child that was forked
 * before and one that is forked later. What is wrong changes nothing.
 *
 *     reload CONFIG
 */
#define _XOPEN_SOURCE 700
#include "check.h"
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *config;

/* The last section of the file is [limits]. Says how long the file was. */
static long append(const char *line)
{
    FILE *file = fopen(config, "a");
    long before;

    CHECK(file != NULL && fseek(file, 0, SEEK_END) == 0);
    before = ftell(file);
    CHECK(fputs(line, file) >= 0 && fclose(file) == 0);
    return before;
}

static int32_t register_more(const char *user, const char *token)
{
    voip_push_device device;

    memset(&device, 0, sizeof device);
    device.size = sizeof device;
    device.user = user;
    device.token = token;
    device.platform = "android";
    device.device_id = "another";
    return register_device(&device);
}

/* One device of each user is there already. */
static void check_that_one_is_too_many(const char *user)
{
    CHECK_IS(register_more(user, FCM_TOKEN), VOIP_PUSH_ERR_TOO_MANY_DEVICES);
    CHECK(strstr(voip_push_last_error(), "the user has 1 devices already") != NULL);
    CHECK_PUSH(send_voip_push(user, "Bob", user));
}

/* A child that waits for a word before it looks. */
static pid_t fork_listener(int *word)
{
    int ends[2];
    pid_t child;
    char byte;

    CHECK(pipe(ends) == 0);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_IS(register_iphone_of("child"), VOIP_PUSH_OK);
        CHECK(read(ends[0], &byte, 1) == 1);
        check_that_one_is_too_many("child");
        exit(0);
    }
    *word = ends[1];
    return child;
}

static void check_exit(pid_t child)
{
    int status = -1;

    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv)
{
    pid_t before, later;
    long good;
    int word;

    CHECK(argc == 2);
    config = argv[1];
    CHECK_IS(voip_push_init(config), VOIP_PUSH_OK);
    CHECK_IS(register_iphone_of("alice"), VOIP_PUSH_OK);
    CHECK_PUSH(send_voip_push("alice", "Bob", "c1@example.org"));
    before = fork_listener(&word);

    append("devices_per_user = 1\n");
    CHECK_IS(voip_push_reload(NULL), VOIP_PUSH_OK);
    check_that_one_is_too_many("alice");
    CHECK(write(word, "x", 1) == 1);
    check_exit(before);
    later = fork();
    CHECK(later >= 0);
    if (later == 0) {
        check_that_one_is_too_many("alice");
        exit(0);
    }
    check_exit(later);

    CHECK_IS(voip_push_log_level("off"), VOIP_PUSH_OK);
    CHECK_IS(voip_push_log_level(NULL), VOIP_PUSH_ERR_NULL_POINTER);
    CHECK_IS(voip_push_log_level("loud"), VOIP_PUSH_ERR_BAD_ARGUMENT);
    good = append("devices_per_user = ");
    CHECK_IS(voip_push_reload(NULL), VOIP_PUSH_ERR_CONFIG);
    CHECK(strstr(voip_push_last_error(), config) != NULL);
    CHECK_IS(voip_push_reload("/nowhere/voip-push.toml"), VOIP_PUSH_ERR_CONFIG);
    CHECK_IS(voip_push_reload(""), VOIP_PUSH_ERR_BAD_ARGUMENT);
    check_that_one_is_too_many("alice");
    CHECK(truncate(config, good) == 0);
    append("calls_per_user = 3\n");
    CHECK_IS(voip_push_reload(config), VOIP_PUSH_OK);
    check_that_one_is_too_many("alice");

    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    CHECK_IS(voip_push_reload(config), VOIP_PUSH_OK); /* starts it */
    CHECK_IS(voip_push_init(config), VOIP_PUSH_ERR_ALREADY_INITIALISED);
    check_that_one_is_too_many("alice");
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    return 0;
}
