#include "words.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a: short, and good enough for words. */
static uint64_t hash(const char *text, size_t length)
{
    uint64_t value = 14695981039346656037u;
    for (size_t i = 0; i < length; i++) {
        value ^= (unsigned char)text[i];
        value *= 1099511628211u;
    }
    return value;
}

static struct word *find(struct word *slots, size_t capacity, const char *text, size_t length)
{
    size_t at = hash(text, length) & (capacity - 1);
    while (slots[at].text && (slots[at].length != length || memcmp(slots[at].text, text, length) != 0))
        at = (at + 1) & (capacity - 1);
    return &slots[at];
}

static int grow(struct words *words)
{
    size_t capacity = words->capacity ? words->capacity * 2 : 1024;
    struct word *slots = calloc(capacity, sizeof *slots);
    if (!slots)
        return -1;
    for (size_t i = 0; i < words->capacity; i++) {
        struct word *word = &words->slots[i];
        if (word->text)
            *find(slots, capacity, word->text, word->length) = *word;
    }
    free(words->slots);
    words->slots = slots;
    words->capacity = capacity;
    return 0;
}

int words_add(struct words *words, const char *text, size_t length)
{
    /* Half empty at least, so that a search ends soon. */
    if (words->distinct * 2 >= words->capacity && grow(words) != 0)
        return -1;
    struct word *word = find(words->slots, words->capacity, text, length);
    if (!word->text) {
        word->text = malloc(length + 1);
        if (!word->text)
            return -1;
        memcpy(word->text, text, length);
        word->text[length] = '\0';
        word->length = length;
        words->distinct++;
    }
    word->count++;
    words->total++;
    return 0;
}

static int by_count(const void *left, const void *right)
{
    const struct word *a = left, *b = right;
    if (a->count != b->count)
        return a->count < b->count ? 1 : -1;
    return strcmp(a->text, b->text);
}

struct word *words_sorted(struct words *words)
{
    size_t used = 0;
    for (size_t i = 0; i < words->capacity; i++) {
        if (!words->slots[i].text)
            continue;
        struct word word = words->slots[i];
        words->slots[i].text = NULL;
        words->slots[used++] = word;
    }
    if (used > 1)
        qsort(words->slots, used, sizeof *words->slots, by_count);
    return words->slots;
}

void words_free(struct words *words)
{
    for (size_t i = 0; i < words->capacity; i++)
        free(words->slots[i].text);
    free(words->slots);
    *words = (struct words){0};
}
