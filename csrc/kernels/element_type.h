/* Element types of the tensors that kernels work on. Sums are taken in double for F64 and in float
 * otherwise; strides and offsets count elements, in 64 bits. */
#ifndef ATMOS_KERNELS_ELEMENT_TYPE_H
#define ATMOS_KERNELS_ELEMENT_TYPE_H

#include <stdint.h>

typedef enum atmos_dtype { ATMOS_F32 = 0, ATMOS_F64 = 1, ATMOS_BF16 = 2 } atmos_dtype;

#endif
