#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "notes.h"

static const char usage[] = "usage: notes add WORD... | list | find WORD | version\n";
static const char nothing[] = "no notes yet";

static void show(long number, const char *text)
{
    printf("%3ld  %s\n", number, text);
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "";
    if (!strcmp(command, "version")) {
        puts("notes " VERSION);
        return 0;
    }
    int add = !strcmp(command, "add") && argc > 2;
    int list = !strcmp(command, "list") && argc == 2;
    int find = !strcmp(command, "find") && argc == 3;
    if (!add && !list && !find) {
        fputs(usage, stderr);
        return 2;
    }

    const char *path = getenv("NOTES_FILE");
    struct store *store = store_open(path ? path : "notes.db");
    if (!store)
        return 1;
    long done;
    if (add) {
        char *text = text_join(argv + 2, (size_t)argc - 2);
        done = text ? store_add(store, text) : -1;
        if (done > 0)
            printf("note %ld\n", done);
        free(text);
    } else {
        done = store_each(store, find ? argv[2] : "", show);
        if (done == 0)
            puts(nothing);
    }
    store_close(store);
    return done < 0;
}
