#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

#include "notes.h"

struct store {
    sqlite3 *db;
};

static int fail(struct store *store)
{
    fprintf(stderr, "notes: %s\n", sqlite3_errmsg(store->db));
    return -1;
}

struct store *store_open(const char *path)
{
    struct store *store = calloc(1, sizeof *store);
    if (!store)
        return NULL;
    if (sqlite3_open(path, &store->db) != SQLITE_OK
        || sqlite3_exec(store->db, "CREATE TABLE IF NOT EXISTS note (number INTEGER PRIMARY KEY, text TEXT NOT NULL)",
                        NULL, NULL, NULL) != SQLITE_OK) {
        fail(store);
        store_close(store);
        return NULL;
    }
    return store;
}

void store_close(struct store *store)
{
    sqlite3_close(store->db);
    free(store);
}

long store_add(struct store *store, const char *text)
{
    sqlite3_stmt *insert;
    if (sqlite3_prepare_v2(store->db, "INSERT INTO note (text) VALUES (?)", -1, &insert, NULL) != SQLITE_OK)
        return fail(store);
    sqlite3_bind_text(insert, 1, text, -1, SQLITE_STATIC);
    int done = sqlite3_step(insert);
    sqlite3_finalize(insert);
    return done == SQLITE_DONE ? (long)sqlite3_last_insert_rowid(store->db) : fail(store);
}

long store_each(struct store *store, const char *word, void (*show)(long number, const char *text))
{
    sqlite3_stmt *select;
    if (sqlite3_prepare_v2(store->db, "SELECT number, text FROM note WHERE instr(text, ?) ORDER BY number", -1, &select,
                           NULL) != SQLITE_OK)
        return fail(store);
    sqlite3_bind_text(select, 1, word, -1, SQLITE_STATIC);
    long count = 0;
    int row;
    while ((row = sqlite3_step(select)) == SQLITE_ROW) {
        show((long)sqlite3_column_int64(select, 0), (const char *)sqlite3_column_text(select, 1));
        count++;
    }
    sqlite3_finalize(select);
    return row == SQLITE_DONE ? count : fail(store);
}
