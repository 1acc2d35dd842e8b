#include <stdlib.h>
#include <string.h>

#include "notes.h"

char *text_join(char *const *words, size_t count)
{
    size_t length = 1;
    for (size_t i = 0; i < count; i++)
        length += strlen(words[i]) + 1;
    char *text = malloc(length);
    if (!text)
        return NULL;
    char *end = text;
    for (size_t i = 0; i < count; i++) {
        if (i)
            *end++ = ' ';
        size_t size = strlen(words[i]);
        memcpy(end, words[i], size);
        end += size;
    }
    *end = '\0';
    return text;
}
