/* A table of words and how often each was seen. */
#ifndef WORDS_H
#define WORDS_H

#include <stddef.h>

struct word {
    char *text;
    size_t length;
    unsigned long count;
};

struct words {
    struct word *slots; /* open addressing; a slot without text is free */
    size_t capacity;    /* a power of two, or 0 */
    size_t distinct;
    unsigned long total;
};

/* Counts one more of the word. Returns 0, or -1 when memory runs out. */
int words_add(struct words *words, const char *text, size_t length);

/* Moves the words to the front of the table, the most frequent first, equal ones by the alphabet. The table only takes
   new words again after words_free. */
struct word *words_sorted(struct words *words);

void words_free(struct words *words);

#endif
