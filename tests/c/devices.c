/* Devices with all that can be said of them: stored, replaced, limited, forgotten one at a time.
 *
 *     devices CONFIG
 */
#include "check.h"

#define ALERT_TOKEN "11fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"

static voip_push_device device_of(const char *user, const char *token, const char *platform)
{
    voip_push_device device;

    memset(&device, 0, sizeof device);
    device.size = sizeof device;
    device.user = user;
    device.token = token;
    device.platform = platform;
    return device;
}

static int32_t devices_of(const char *user)
{
    return lookup_token(user, NULL, 0, NULL, NULL, 0, NULL);
}

static void everything_can_be_said(void)
{
    voip_push_device device = device_of("alice", APNS_TOKEN, "ios");

    device.device_id = "handset";
    device.provider = "apns";
    device.app = "org.example.phone.voip";
    device.environment = "sandbox";
    device.alert_token = ALERT_TOKEN;
    device.alert_app = "org.example.phone";
    device.expires_s = 3600;
    CHECK_IS(register_device(&device), VOIP_PUSH_OK);
    CHECK_IS(register_device(&device), VOIP_PUSH_OK);
    CHECK_IS(devices_of("alice"), 1);
    CHECK_PUSH(send_voip_push("alice", "Bob", "c1@example.org"));
}

static void wrong(const voip_push_device *device, int32_t status, const char *named)
{
    CHECK_IS(register_device(device), status);
    CHECK(strncmp(voip_push_last_error(), named, strlen(named)) == 0);
    CHECK_IS(devices_of("bob"), VOIP_PUSH_ERR_NO_DEVICE);
}

static void what_is_wrong_is_named(void)
{
    const voip_push_device good = device_of("bob", FCM_TOKEN, "android");
    voip_push_device device = good;

    wrong(NULL, VOIP_PUSH_ERR_NULL_POINTER, "device: is NULL");
    device.size = 0;
    wrong(&device, VOIP_PUSH_ERR_BAD_ARGUMENT, "device: size");
    device.size = sizeof device - 1;
    wrong(&device, VOIP_PUSH_ERR_BAD_ARGUMENT, "device: size");
    device = good;
    device.user = NULL;
    wrong(&device, VOIP_PUSH_ERR_NULL_POINTER, "user: ");
    device = good;
    device.app = "\xff" SECRET;
    wrong(&device, VOIP_PUSH_ERR_INVALID_UTF8, "app: ");
    device = good;
    device.provider = "webpush";
    wrong(&device, VOIP_PUSH_ERR_BAD_ARGUMENT, "provider: webpush is not supported yet");
    device = good;
    device.environment = "staging";
    wrong(&device, VOIP_PUSH_ERR_BAD_ARGUMENT, "environment: ");
    device = good;
    device.expires_s = -1;
    wrong(&device, VOIP_PUSH_ERR_BAD_ARGUMENT, "expires: ");
    device = good;
    device.alert_token = ALERT_TOKEN;
    wrong(&device, VOIP_PUSH_ERR_BAD_ARGUMENT, "alert_token: ");
    device = good;
    device.alert_app = "org.example.phone";
    wrong(&device, VOIP_PUSH_ERR_BAD_ARGUMENT, "alert_app: ");
}

/* A later version's structure is longer; what is behind our fields is not looked at. */
static void a_longer_structure_is_taken(void)
{
    struct {
        voip_push_device device;
        const char *later;
    } longer;

    longer.device = device_of("carol", FCM_TOKEN, "android");
    longer.device.size = sizeof longer;
    longer.later = NULL;
    CHECK_IS(register_device(&longer.device), VOIP_PUSH_OK);
    CHECK_IS(devices_of("carol"), 1);
}

static void a_token_has_one_owner(void)
{
    CHECK_IS(register_token("dave", FCM_TOKEN, "android"), VOIP_PUSH_OK);
    CHECK_IS(devices_of("carol"), VOIP_PUSH_ERR_NO_DEVICE);
    CHECK_IS(delete_device("dave", "other"), VOIP_PUSH_ERR_NO_DEVICE);
    CHECK_IS(delete_device("dave", ""), 1);
    CHECK_IS(devices_of("dave"), VOIP_PUSH_ERR_NO_DEVICE);
    CHECK_IS(delete_device("dave", NULL), VOIP_PUSH_ERR_NULL_POINTER);
}

static void so_many_devices_and_no_more(void)
{
    char token[65], device_id[8];
    int i;

    for (i = 0; i <= 20; i++) {
        voip_push_device device = device_of("erin", token, "ios");

        snprintf(token, sizeof token, "%064x", i);
        snprintf(device_id, sizeof device_id, "%d", i);
        device.device_id = device_id;
        CHECK_IS(register_device(&device), i < 20 ? VOIP_PUSH_OK : VOIP_PUSH_ERR_TOO_MANY_DEVICES);
    }
    CHECK(strstr(voip_push_last_error(), "20 devices") != NULL);
    CHECK_IS(devices_of("erin"), 20);
    CHECK_IS(delete_device("erin", "7"), 1);
    CHECK_IS(delete_token("erin"), 19);
}

int main(int argc, char **argv)
{
    CHECK(argc == 2);
    CHECK_IS(voip_push_init(argv[1]), VOIP_PUSH_OK);
    everything_can_be_said();
    what_is_wrong_is_named();
    a_longer_structure_is_taken();
    a_token_has_one_owner();
    so_many_devices_and_no_more();
    CHECK_IS(voip_push_shutdown(), VOIP_PUSH_OK);
    return 0;
}
