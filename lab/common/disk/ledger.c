// A database server for one client at a time: each line is a transaction, each answer says that it is committed.
//
//   commit NUMBER TEXT\n   inserts (NUMBER, TEXT) and adds to the sums, in one transaction       answer: ok NUMBER\n
//   check\n                what is there, by number   answer: NUMBER TIMES TEXT\n ... then: end COUNT TOTAL INTEGRITY\n
//
// synchronous=EXTRA: an answered COMMIT survives a power cut. With FULL the last one may not: the journal's removal is not
// synchronized, so the journal can come back and roll it back. No column is unique, so that a transaction done twice shows.
//   ledger [DATABASE [PORT]]
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static sqlite3 *database;

static void die(const char *what) {
  fprintf(stderr, "ledger: %s: %s\n", what, database ? sqlite3_errmsg(database) : "");
  exit(1);
}

static void execute(const char *statement) {
  if (sqlite3_exec(database, statement, NULL, NULL, NULL) != SQLITE_OK) die(statement);
}

static sqlite3_stmt *prepare(const char *text) {
  sqlite3_stmt *statement = NULL;
  if (sqlite3_prepare_v2(database, text, -1, &statement, NULL) != SQLITE_OK) die(text);
  return statement;
}

static void step(sqlite3_stmt *statement) {
  if (sqlite3_step(statement) != SQLITE_DONE) die("step");
  sqlite3_reset(statement);
}

static void commit(FILE *out, long long number, const char *text) {
  static sqlite3_stmt *insert, *add;
  if (!insert) insert = prepare("INSERT INTO entries (number, text) VALUES (?1, ?2)");
  if (!add) add = prepare("UPDATE sums SET count = count + 1, total = total + ?1");
  execute("BEGIN IMMEDIATE");
  sqlite3_bind_int64(insert, 1, number);
  sqlite3_bind_text(insert, 2, text, -1, SQLITE_STATIC);
  step(insert);
  sqlite3_bind_int64(add, 1, number);
  step(add);
  execute("COMMIT");
  fprintf(out, "ok %lld\n", number);
}

static void check(FILE *out) {
  sqlite3_stmt *entries = prepare("SELECT number, count(*), min(text) FROM entries GROUP BY number ORDER BY number");
  while (sqlite3_step(entries) == SQLITE_ROW)
    fprintf(out, "%lld %d %s\n", sqlite3_column_int64(entries, 0), sqlite3_column_int(entries, 1),
            (const char *)sqlite3_column_text(entries, 2));
  sqlite3_finalize(entries);
  sqlite3_stmt *sums = prepare("SELECT count, total FROM sums");
  sqlite3_stmt *integrity = prepare("PRAGMA integrity_check(1)");
  if (sqlite3_step(sums) != SQLITE_ROW || sqlite3_step(integrity) != SQLITE_ROW) die("check");
  fprintf(out, "end %lld %lld %s\n", sqlite3_column_int64(sums, 0), sqlite3_column_int64(sums, 1),
          (const char *)sqlite3_column_text(integrity, 0));
  sqlite3_finalize(sums);
  sqlite3_finalize(integrity);
}

static void serve(int connection) {
  int on = 1;
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  FILE *in = fdopen(connection, "r"), *out = fdopen(dup(connection), "w");
  char line[4096], text[2048];
  long long number;
  while (in && out && fgets(line, sizeof line, in)) {
    if (sscanf(line, "commit %lld %2047s", &number, text) == 2)
      commit(out, number, text);
    else if (strcmp(line, "check\n") == 0)
      check(out);
    else
      fprintf(out, "what?\n");
    fflush(out);
  }
  if (in) fclose(in);
  if (out) fclose(out);
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN);
  if (sqlite3_open(argc > 1 ? argv[1] : "/var/lib/ledger.db", &database) != SQLITE_OK) die("open");
  execute("PRAGMA synchronous=EXTRA");
  execute("CREATE TABLE IF NOT EXISTS entries (number INTEGER NOT NULL, text TEXT NOT NULL)");
  execute("CREATE TABLE IF NOT EXISTS sums (count INTEGER NOT NULL, total INTEGER NOT NULL)");
  execute("INSERT INTO sums SELECT 0, 0 WHERE NOT EXISTS (SELECT 1 FROM sums)");
  int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((unsigned short)(argc > 2 ? atoi(argv[2]) : 7010)),
                                .sin_addr.s_addr = htonl(INADDR_ANY)};
  if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4) != 0) {
    perror("ledger: listen");
    return 1;
  }
  for (;;) {
    int connection = accept(listener, NULL, NULL);
    if (connection >= 0) serve(connection);
  }
}
