#ifndef NOTES_H
#define NOTES_H

#include <stddef.h>

struct store;

/* Opens the file, which is made when it is missing. NULL and a message on stderr when it can't be. */
struct store *store_open(const char *path);
void store_close(struct store *store);

/* The number of the new note, or -1. */
long store_add(struct store *store, const char *text);

/* Calls `show` for every note that contains `word`, oldest first. Gives how many there were, or -1. */
long store_each(struct store *store, const char *word, void (*show)(long number, const char *text));

/* Joins words with spaces; NULL when there is no memory. The caller frees it. */
char *text_join(char *const *words, size_t count);

#endif
