/* Libraries that are not what they seem, one for each value of CASE; built by impostor.rs. */
#include <intel-ipsec-mb.h>

#define OTHER_VERSION 1
#define NO_FUNCTIONS 2
#define NO_MEMORY 3
#define OTHER_CODE 4
#define FAILED_ITSELF 5
#define DOES_NOTHING 6
#define NEVER_DONE 7

unsigned imb_get_version(void)
{
        return CASE == OTHER_VERSION ? IMB_VERSION_NUM + IMB_VERSION(0, 1, 0) : IMB_VERSION_NUM;
}

#if CASE != NO_FUNCTIONS
static IMB_JOB *next(IMB_MGR *manager)
{
        return &manager->jobs[0];
}

static IMB_JOB *submit(IMB_MGR *manager)
{
        manager->jobs[0].status = CASE == NEVER_DONE ? IMB_STATUS_BEING_PROCESSED : IMB_STATUS_COMPLETED;
        return &manager->jobs[0];
}

static IMB_JOB *flush(IMB_MGR *manager)
{
        (void)manager;
        return NULL;
}

IMB_MGR *alloc_mb_mgr(uint64_t flags)
{
        (void)flags;
        return CASE == NO_MEMORY ? NULL : calloc(1, sizeof(IMB_MGR));
}

void init_mb_mgr_auto(IMB_MGR *manager, IMB_ARCH *arch)
{
        (void)arch;
        manager->used_arch = CASE == OTHER_CODE ? IMB_ARCH_AVX2 : IMB_ARCH_AVX512;
        manager->features = IMB_FEATURE_AVX512_IFMA;
        manager->imb_errno = CASE == FAILED_ITSELF ? EFAULT : 0;
        manager->get_next_job = next;
        manager->submit_job_nocheck = submit;
        manager->flush_job = flush;
}

void free_mb_mgr(IMB_MGR *manager)
{
        free(manager);
}
#endif
