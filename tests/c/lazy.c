/* Use without init: a clear status while the configuration is missing or broken, and work as soon as it is good,
 * with one start however many threads come first.
 *
 *     lazy GOOD_FILE FILE_TO_USE       (the first is renamed to the second, which is not there at the start)
 */
#define _XOPEN_SOURCE 700
#include "check.h"
#include <pthread.h>
#include <unistd.h>

enum { THREADS = 8 };

static const char VARIABLE[] = "VOIP_PUSH_CONFIG";
static const char DEFAULT_FILE[] = "/etc/voip-push/voip-push.toml";

static pthread_barrier_t at_once;

static void *first_use(void *data)
{
    pthread_barrier_wait(&at_once);
    CHECK_IS(register_iphone_of((const char *)data), VOIP_PUSH_OK);
    return NULL;
}

static void many_first_uses(void)
{
    static char users[THREADS][32];
    pthread_t threads[THREADS];
    int i;

    CHECK(pthread_barrier_init(&at_once, NULL, THREADS) == 0);
    for (i = 0; i < THREADS; i++) {
        snprintf(users[i], sizeof users[i], "user%d", i);
        CHECK(pthread_create(&threads[i], NULL, first_use, users[i]) == 0);
    }
    for (i = 0; i < THREADS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    for (i = 0; i < THREADS; i++)
        CHECK_IS(lookup_token(users[i], NULL, 0, NULL, NULL, 0, NULL), 1);
    pthread_barrier_destroy(&at_once);
}

static void check_config_error(const char *named)
{
    CHECK_IS(register_token("alice", APNS_TOKEN, "ios"), VOIP_PUSH_ERR_CONFIG);
    CHECK(strstr(voip_push_last_error(), named) != NULL);
    CHECK_IS(lookup_token("alice", NULL, 0, NULL, NULL, 0, NULL), VOIP_PUSH_ERR_CONFIG);
    CHECK_IS(delete_token("alice"), VOIP_PUSH_ERR_CONFIG);
    CHECK_IS(send_voip_push("alice", "Bob", "c1"), VOIP_PUSH_ERR_CONFIG);
    CHECK_IS(send_voip_push_to("apns", APNS_TOKEN, "", "alice", "Bob", "c2"), VOIP_PUSH_ERR_CONFIG);
    CHECK(strstr(voip_push_last_error(), named) != NULL);
    CHECK_IS(voip_push_init(NULL), VOIP_PUSH_ERR_CONFIG);
    /* A wrong argument is named first. */
    CHECK_IS(delete_token(NULL), VOIP_PUSH_ERR_NULL_POINTER);
}

int main(int argc, char **argv)
{
    FILE *broken;

    CHECK(argc == 3);
    unsetenv(VARIABLE);
    if (access(DEFAULT_FILE, F_OK) != 0) {
        check_config_error(DEFAULT_FILE);
        setenv(VARIABLE, "", 1);
        check_config_error(DEFAULT_FILE);
    }
    setenv(VARIABLE, argv[2], 1);
    check_config_error(argv[2]);
    broken = fopen(argv[2], "w");
    CHECK(broken != NULL);
    CHECK(fputs("[call]\nrinq_seconds = 30\n", broken) >= 0 && fclose(broken) == 0);
    check_config_error("ring_seconds");

    CHECK(rename(argv[1], argv[2]) == 0);
    many_first_uses();
    CHECK_IS(voip_push_init(argv[2]), VOIP_PUSH_ERR_ALREADY_INITIALISED);
    CHECK_PUSH(send_voip_push("user0", "Bob", "c3"));
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    return 0;
}
