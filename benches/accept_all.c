/*
 * The filter that straymail is measured against (make bench-mta): takes everything, looks at each
 * recipient and asks for nothing else. Usage: accept_all unix:/path
 */
#include <libmilter/mfapi.h>
#include <stdlib.h>
#include <string.h>

static sfsistat recipient(SMFICTX *ctx, char **argv)
{
    const char *address = smfi_getsymval(ctx, "{rcpt_addr}");
    return (address ? strlen(address) : strlen(argv[0])) ? SMFIS_CONTINUE : SMFIS_TEMPFAIL;
}

static sfsistat end_of_message(SMFICTX *ctx)
{
    (void)ctx;
    return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
    struct smfiDesc filter;
    memset(&filter, 0, sizeof filter);
    filter.xxfi_name = "accept_all";
    filter.xxfi_version = SMFI_VERSION;
    filter.xxfi_envrcpt = recipient;
    filter.xxfi_eom = end_of_message;
    if (argc != 2 || smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(filter) != MI_SUCCESS)
        return EXIT_FAILURE;
    return smfi_main() == MI_SUCCESS ? EXIT_SUCCESS : EXIT_FAILURE;
}
