/* tally: the most frequent words of some files, or of the standard input. */
#include "words.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef VERSION
#define VERSION "dev"
#endif

static const char greeting[] = "The most frequent words are:";

enum { LONGEST_WORD = 256 };

static int count(FILE *file, struct words *words)
{
    char word[LONGEST_WORD];
    size_t length = 0;
    int letter;
    do {
        letter = getc(file);
        if (letter != EOF && (isalpha(letter) || letter >= 0x80)) {
            if (length < sizeof word)
                word[length++] = (char)tolower(letter);
        } else if (length > 0) {
            if (words_add(words, word, length) != 0)
                return -1;
            length = 0;
        }
    } while (letter != EOF);
    return ferror(file) ? -1 : 0;
}

static void show(struct words *words, size_t top)
{
    struct word *sorted = words_sorted(words);
    puts(greeting);
    for (size_t i = 0; i < top && i < words->distinct; i++)
        printf("%8lu  %s\n", sorted[i].count, sorted[i].text);
    printf("%8lu  words in all, %zu different ones\n", words->total, words->distinct);
}

static int usage(FILE *to, int status)
{
    fprintf(to, "usage: tally [--top N] [--version] [FILE...]\n");
    return status;
}

int main(int argc, char **argv)
{
    size_t top = 10;
    int at = 1;
    for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
        if (strcmp(argv[at], "--version") == 0)
            return puts("tally " VERSION) < 0;
        if (strcmp(argv[at], "--help") == 0)
            return usage(stdout, 0);
        if (strcmp(argv[at], "--top") != 0 || at + 1 == argc)
            return usage(stderr, 2);
        char *end;
        top = strtoul(argv[++at], &end, 10);
        if (*end || end == argv[at])
            return usage(stderr, 2);
    }

    struct words words = {0};
    int failed = 0;
    if (at == argc)
        failed = count(stdin, &words);
    for (; at < argc; at++) {
        FILE *file = fopen(argv[at], "r");
        if (!file || count(file, &words) != 0) {
            fprintf(stderr, "tally: %s: %s\n", argv[at], strerror(errno));
            failed = 1;
        }
        if (file)
            fclose(file);
    }
    show(&words, top);
    words_free(&words);
    return failed != 0;
}
