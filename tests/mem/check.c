/* Holds the functions of packaging/mem.c, under other names, against libc's: all lengths and distances up to some hundred
 * bytes, then what chance brings. Ends with 1 at the first difference. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *tested_memmove(void *to, const void *from, size_t n);
void *tested_memcpy(void *to, const void *from, size_t n);
int tested_memcmp(const void *a, const void *b, size_t n);
int tested_bcmp(const void *a, const void *b, size_t n);

enum { ROOM = 8192 };
static unsigned char before[ROOM], ours[ROOM], theirs[ROOM];

static void fail(const char *what, size_t to, size_t from, size_t n)
{
    printf("%s: to %zu, from %zu, %zu bytes\n", what, to, from, n);
    exit(1);
}

static void moves(size_t to, size_t from, size_t n)
{
    memcpy(ours, before, ROOM);
    memcpy(theirs, before, ROOM);
    memmove(theirs + to, theirs + from, n);
    if (tested_memmove(ours + to, ours + from, n) != ours + to || memcmp(ours, theirs, ROOM))
        fail("memmove", to, from, n);
    if (to + n > from && from + n > to)
        return;
    memcpy(ours, before, ROOM);
    if (tested_memcpy(ours + to, ours + from, n) != ours + to || memcmp(ours, theirs, ROOM))
        fail("memcpy", to, from, n);
}

static int sign(int number)
{
    return (number > 0) - (number < 0);
}

/* Two runs of bytes that differ at one place, and perhaps after it. */
static void compares(size_t at, size_t other, size_t n, size_t place)
{
    memcpy(ours, before, ROOM);
    memcpy(theirs, before, ROOM);
    memcpy(theirs + other, ours + at, n);
    if (place < n) {
        theirs[other + place] ^= (unsigned char)(1 + rand() % 255);
        theirs[other + n - 1] ^= (unsigned char)(rand() % 256);
    }
    int expected = memcmp(ours + at, theirs + other, n);
    if (sign(tested_memcmp(ours + at, theirs + other, n)) != sign(expected))
        fail("memcmp", at, other, n);
    if (!tested_bcmp(ours + at, theirs + other, n) != !expected)
        fail("bcmp", at, other, n);
}

int main(void)
{
    srand(1);
    for (size_t i = 0; i < ROOM; i++)
        before[i] = (unsigned char)rand();
    for (size_t n = 0; n <= 300; n++) {
        for (size_t distance = 0; distance <= 300; distance += distance < 80 ? 1 : 7) {
            moves(1000 + distance, 1000, n);
            moves(1000, 1000 + distance, n);
        }
        for (size_t place = 0; place <= n; place++)
            compares(1000 + place % 17, 2000 + n % 13, n, place);
    }
    for (int i = 0; i < 100000; i++) {
        size_t n = (size_t)rand() % 3000;
        moves((size_t)rand() % 5000, (size_t)rand() % 5000, n);
        compares((size_t)rand() % 5000, (size_t)rand() % 5000, n, (size_t)rand() % 3000);
    }
    return 0;
}
