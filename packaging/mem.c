/*
 * memcpy, memmove, memcmp and bcmp for the static binaries, in the place of musl's.
 *
 * musl copies with "rep movsq" on x86_64, which takes tens of cycles to start, and compares byte by byte everywhere.
 * What the store does all day is to copy and compare a few bytes. packaging/build hands this to the linker, which then
 * takes none of these from libc.
 *
 * As C11 7.24.2.1, 7.24.2.2 and 7.24.4.1 have them. Whatever is read of a step is read before anything of it is
 * written, so that it does not matter whether the places overlap. Nothing beyond what every machine of the kind has.
 */

#include <stddef.h>
#include <stdint.h>

typedef uint64_t wide __attribute__((vector_size(16)));
typedef unsigned char byte;

#define READ(type, from) ({ type value_; __builtin_memcpy(&value_, (from), sizeof value_); value_; })
#define WRITE(to, value) __builtin_memcpy((to), &(value), sizeof(value))

/* Both ends, which overlap where n is less than both. */
#define ENDS(type) \
    do { \
        const type first = READ(type, from), last = READ(type, from + n - sizeof last); \
        WRITE(to, first); \
        WRITE(to + n - sizeof last, last); \
        return to_; \
    } while (0)

/* Whether bytes are copied from the first to the last, which is right unless `to` lies within what is copied. */
static inline int forward_is_right(const byte *to, const byte *from, size_t n)
{
    return (uintptr_t)to - (uintptr_t)from >= n;
}

void *memmove(void *to_, const void *from_, size_t n)
{
    byte *to = to_;
    const byte *from = from_;

    if (n <= 16) {
        if (n >= 8)
            ENDS(uint64_t);
        if (n >= 4)
            ENDS(uint32_t);
        if (n >= 2)
            ENDS(uint16_t);
        if (n)
            *to = *from;
        return to_;
    }
    if (n <= 32)
        ENDS(wide);
    if (n <= 64) {
        const wide a = READ(wide, from), b = READ(wide, from + 16);
        const wide y = READ(wide, from + n - 32), z = READ(wide, from + n - 16);
        WRITE(to, a);
        WRITE(to + 16, b);
        WRITE(to + n - 32, y);
        WRITE(to + n - 16, z);
        return to_;
    }

    if (forward_is_right(to, from, n)) {
        const wide y1 = READ(wide, from + n - 64), y2 = READ(wide, from + n - 48);
        const wide y3 = READ(wide, from + n - 32), y4 = READ(wide, from + n - 16);
        byte *end = to + n;
        for (; n > 64; n -= 64, from += 64, to += 64) {
            const wide a = READ(wide, from), b = READ(wide, from + 16);
            const wide c = READ(wide, from + 32), d = READ(wide, from + 48);
            WRITE(to, a);
            WRITE(to + 16, b);
            WRITE(to + 32, c);
            WRITE(to + 48, d);
        }
        WRITE(end - 64, y1);
        WRITE(end - 48, y2);
        WRITE(end - 32, y3);
        WRITE(end - 16, y4);
        return to_;
    }

    const wide a1 = READ(wide, from), a2 = READ(wide, from + 16);
    const wide a3 = READ(wide, from + 32), a4 = READ(wide, from + 48);
    for (; n > 64; n -= 64) {
        const wide w = READ(wide, from + n - 64), x = READ(wide, from + n - 48);
        const wide y = READ(wide, from + n - 32), z = READ(wide, from + n - 16);
        WRITE(to + n - 64, w);
        WRITE(to + n - 48, x);
        WRITE(to + n - 32, y);
        WRITE(to + n - 16, z);
    }
    WRITE(to, a1);
    WRITE(to + 16, a2);
    WRITE(to + 32, a3);
    WRITE(to + 48, a4);
    return to_;
}

void *memcpy(void *restrict to, const void *restrict from, size_t n) __attribute__((alias("memmove")));

/* As numbers whose first byte counts most, so that one comparison orders all their bytes. */
#define IN_ORDER(type, from, swap) \
    (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? swap(READ(type, from)) : READ(type, from))
#define EIGHT(from) IN_ORDER(uint64_t, from, __builtin_bswap64)
#define FOUR(from) IN_ORDER(uint32_t, from, __builtin_bswap32)

static inline int order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

int memcmp(const void *a_, const void *b_, size_t n)
{
    const byte *a = a_, *b = b_;

    if (n >= 8) {
        for (; n > 8; n -= 8, a += 8, b += 8)
            if (READ(uint64_t, a) != READ(uint64_t, b))
                return order(EIGHT(a), EIGHT(b));
        /* The last eight, some of which were equal already. */
        return order(EIGHT(a + n - 8), EIGHT(b + n - 8));
    }
    if (n >= 4) {
        const uint64_t first = (uint64_t)FOUR(a) << 32 | FOUR(a + n - 4);
        return order(first, (uint64_t)FOUR(b) << 32 | FOUR(b + n - 4));
    }
    for (; n; n--, a++, b++)
        if (*a != *b)
            return *a - *b;
    return 0;
}

int bcmp(const void *a, const void *b, size_t n) __attribute__((alias("memcmp")));
