/* Many threads register, look up, push and delete at once; afterwards the counts add up.
 *
 *     threads CONFIG
 */
#define _XOPEN_SOURCE 700
#include "check.h"
#include <pthread.h>

enum { THREADS = 8, ROUNDS = 12, SHARED = 40 };

struct worker {
    pthread_t thread;
    int number;
    int registered, deleted, won, lost;
};

static pthread_barrier_t at_once;

/* A user of the thread's own: nobody else changes it. */
static void own_user(struct worker *worker)
{
    char user[32], call_id[64];
    int round;

    snprintf(user, sizeof user, "own%d@example.org", worker->number);
    for (round = 0; round < ROUNDS; round++) {
        snprintf(call_id, sizeof call_id, "%d-%d@example.org", worker->number, round);
        CHECK_IS(register_iphone_of(user), VOIP_PUSH_OK);
        worker->registered++;
        CHECK_IS(lookup_token(user, NULL, 0, NULL, NULL, 0, NULL), 1);
        CHECK_PUSH(send_voip_push(user, "Bob", call_id));
        CHECK_IS(delete_token(user), 1);
        worker->deleted++;
        CHECK_IS(lookup_token(user, NULL, 0, NULL, NULL, 0, NULL), VOIP_PUSH_ERR_NO_DEVICE);
    }
}

/* Everybody deletes the same users: each of them falls to exactly one thread. */
static void shared_users(struct worker *worker)
{
    char user[32];
    int i;

    for (i = 0; i < SHARED; i++) {
        int32_t deleted;

        snprintf(user, sizeof user, "shared%d", i);
        deleted = delete_token(user);
        if (deleted == VOIP_PUSH_ERR_NO_DEVICE)
            worker->lost++;
        else
            CHECK_IS(deleted, 1);
        if (deleted == 1)
            worker->won++;
    }
}

/* A last error belongs to its thread. */
static void own_last_error(struct worker *worker)
{
    int fails = worker->number % 2;

    CHECK_IS(delete_token(fails ? NULL : "nobody"), fails ? VOIP_PUSH_ERR_NULL_POINTER : VOIP_PUSH_ERR_NO_DEVICE);
    pthread_barrier_wait(&at_once);
    CHECK(strcmp(voip_push_last_error(), fails ? "user: is NULL" : "no device for this user") == 0);
}

static void *work(void *data)
{
    struct worker *worker = (struct worker *)data;

    pthread_barrier_wait(&at_once);
    own_user(worker);
    pthread_barrier_wait(&at_once);
    shared_users(worker);
    own_last_error(worker);
    return NULL;
}

static void register_shared(void)
{
    char user[32];
    int i;

    for (i = 0; i < SHARED; i++) {
        snprintf(user, sizeof user, "shared%d", i);
        CHECK_IS(register_iphone_of(user), VOIP_PUSH_OK);
    }
}

int main(int argc, char **argv)
{
    static struct worker workers[THREADS];
    int i, registered = 0, deleted = 0, won = 0, lost = 0;

    CHECK(argc == 2);
    CHECK_IS(voip_push_init(argv[1]), VOIP_PUSH_OK);
    register_shared();
    CHECK(pthread_barrier_init(&at_once, NULL, THREADS) == 0);
    for (i = 0; i < THREADS; i++) {
        workers[i].number = i;
        CHECK(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0);
    }
    for (i = 0; i < THREADS; i++) {
        CHECK(pthread_join(workers[i].thread, NULL) == 0);
        registered += workers[i].registered;
        deleted += workers[i].deleted;
        won += workers[i].won;
        lost += workers[i].lost;
    }
    CHECK(registered == THREADS * ROUNDS && deleted == registered);
    CHECK(won == SHARED && lost == (THREADS - 1) * SHARED);
    pthread_barrier_destroy(&at_once);
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    return 0;
}
