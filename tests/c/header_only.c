/* The header alone, twice, before anything else, under stricter flags than anybody uses. */
#include <voip_push.h>
#include <voip_push.h>

#if VOIP_PUSH_VERSION_MAJOR < 0 || VOIP_PUSH_VERSION_MINOR < 0 || VOIP_PUSH_VERSION_PATCH < 0
#error "the version is made of numbers that the preprocessor can compare"
#endif

int main(void)
{
    int32_t status = VOIP_PUSH_OK;
    const char *text = "";

    switch (status) {
    case VOIP_PUSH_ERR_NO_DEVICE:
    case VOIP_PUSH_ERR_INTERNAL:
        text = voip_push_last_error();
        break;
    default:
        break;
    }
    return (int)(1 - text[0] -VOIP_PUSH_OK - 1);
}
