// Philox4x32-10 (Salmon et al., 2011), with the same words as crates/optmsm-core/src/philox.rs.
#pragma once

#include "optmsm.cuh"

// The four words of a counter under the key (key0, key1).
__device__ __forceinline__ uint4 philox4x32(uint4 c, unsigned key0, unsigned key1) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const unsigned high0 = __umulhi(0xD2511F53u, c.x), low0 = 0xD2511F53u * c.x;
    const unsigned high1 = __umulhi(0xCD9E8D57u, c.z), low1 = 0xCD9E8D57u * c.z;
    c = make_uint4(high1 ^ c.y ^ key0, low1, high0 ^ c.w ^ key1, low0);
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return c;
}
