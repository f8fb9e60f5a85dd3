/*
 * ChaCha20-Poly1305 by Intel's Multi-Buffer Crypto for IPsec library, one packet a call.
 *
 * The library's interface is a structure that the caller fills in, and pointers to functions in another: their layout is
 * the header's business, so this much is C. Nothing here refers to a symbol of the library: it is opened at run time, by
 * src/aead/ipsec_mb.rs, and found through the manager's pointers.
 */
#include <intel-ipsec-mb.h>
#include <string.h>

/* What the structures below were laid out by; the library's imb_get_version() must agree. */
unsigned fielato_ipsec_mb_version(void)
{
        return IMB_VERSION_NUM;
}

/* Whether init_mb_mgr_auto() succeeded and chose the code that is worth it: AVX-512 with 52-bit multiplication for Poly1305. */
int fielato_ipsec_mb_fits(const IMB_MGR *manager)
{
        return manager->imb_errno == 0 && manager->used_arch == IMB_ARCH_AVX512 &&
               (manager->features & IMB_FEATURE_AVX512_IFMA) != 0;
}

/* Ciphers in place and computes the tag of the ciphertext. Returns 0, or -1 when the library did not carry it out. */
static int run(IMB_MGR *manager, IMB_CIPHER_DIRECTION direction, const uint8_t *key, uint64_t counter, uint8_t *data,
               uint64_t length, uint8_t *tag)
{
        /* WireGuard's nonce: 32 zero bits, then the counter in little-endian order, which is the processor's. */
        uint8_t nonce[12] = { 0 };
        IMB_JOB *job = IMB_GET_NEXT_JOB(manager);

        memcpy(nonce + 4, &counter, sizeof(counter));
        job->cipher_direction = direction;
        job->chain_order = direction == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
        job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
        job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
        job->enc_keys = key;
        job->dec_keys = key;
        job->key_len_in_bytes = 32;
        job->u.CHACHA20_POLY1305.aad = NULL;
        job->u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
        job->iv = nonce;
        job->iv_len_in_bytes = sizeof(nonce);
        job->src = data;
        job->dst = data;
        job->cipher_start_src_offset_in_bytes = 0;
        job->msg_len_to_cipher_in_bytes = length;
        job->hash_start_src_offset_in_bytes = 0;
        job->msg_len_to_hash_in_bytes = length;
        job->auth_tag_output = tag;
        job->auth_tag_output_len_in_bytes = 16;

        /* Without the checks of fields, which are right. This cipher is never queued: the job comes back done. */
        job = IMB_SUBMIT_JOB_NOCHECK(manager);
        if (job == NULL || job->status != IMB_STATUS_COMPLETED) {
                /* Nothing may stay queued that points into the caller's memory. */
                while (IMB_FLUSH_JOB(manager) != NULL)
                        ;
                return -1;
        }
        return 0;
}

int fielato_ipsec_mb_seal(IMB_MGR *manager, const uint8_t *key, uint64_t counter, uint8_t *data, uint64_t length,
                          uint8_t *tag)
{
        return run(manager, IMB_DIR_ENCRYPT, key, counter, data, length, tag);
}

/* The tag is what it ought to have been: the caller compares. */
int fielato_ipsec_mb_open(IMB_MGR *manager, const uint8_t *key, uint64_t counter, uint8_t *data, uint64_t length,
                          uint8_t *tag)
{
        return run(manager, IMB_DIR_DECRYPT, key, counter, data, length, tag);
}
