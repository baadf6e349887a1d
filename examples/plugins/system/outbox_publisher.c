/* What the outbox publisher asks of the control plane: `claim` borrows rows, `mark` says which of
 * them were published and which were not. Publishing is a task of kind `nats` between the two: a
 * plug-in has no connection to a broker. */

#include "plugin.h"

/* Rows that a run puts back; the others are free again when their loan is over. */
#define MOST_BACK 900

static const char CLAIM[] = "/api/internal/outbox/claim";
static const char MARK[] = "/api/internal/outbox/mark-published";
static const char BACK[] = "/api/internal/outbox/mark-failed";

static u64 claim(text server_url, text input) {
  builder body = {0, 0, 0};
  put(&body, TEXT("{\"limit\":"));
  put_number(&body, number_of(value_of(input, TEXT("limit")), 100));
  put(&body, TEXT("}"));
  answer given = post(server_url, TEXT(CLAIM), built(&body));
  return is_good(given) ? result(given.body) : failed(TEXT(CLAIM), given);
}

static u64 mark(text server_url, text input) {
  text published = value_of(input, TEXT("published")), back = value_of(input, TEXT("failed")), row;
  u32 at = 1, count = 0, returned = 0;
  if (published.size && published.at[0] == '[' && next(published, &at, &row)) {
    builder body = {0, 0, 0};
    put(&body, TEXT("{\"outbox_ids\":"));
    put(&body, published);
    put(&body, TEXT("}"));
    answer given = post(server_url, TEXT(MARK), built(&body));
    if (!is_good(given)) return failed(TEXT(MARK), given);
    for (at = 1; next(published, &at, &row);) count++;
  }
  for (at = 1; back.size && back.at[0] == '[' && returned < MOST_BACK && next(back, &at, &row);) {
    builder body = {0, 0, 0};
    text error = value_of(row, TEXT("error"));
    put(&body, TEXT("{\"outbox_id\":"));
    put(&body, value_of(row, TEXT("id")));
    put(&body, TEXT(",\"error\":"));
    put(&body, error.size ? error : TEXT("\"not published\""));
    put(&body, TEXT("}"));
    answer given = post(server_url, TEXT(BACK), built(&body));
    if (!is_good(given)) return failed(TEXT(BACK), given);
    returned++;
  }
  builder data = {0, 0, 0};
  put(&data, TEXT("{\"published\":"));
  put_number(&data, count);
  put(&data, TEXT(",\"put_back\":"));
  put_number(&data, returned);
  put(&data, TEXT("}"));
  return result(built(&data));
}

EXPORT("run") u64 run(const char *json, u32 size) {
  text input = value_of((text){json, size}, TEXT("input"));
  text server_url = text_of(value_of(input, TEXT("server_url")));
  text wanted = text_of(value_of(input, TEXT("do")));
  if (!server_url.size) return refused(TEXT("outbox_publisher needs 'server_url'"));
  if (same(wanted, TEXT("claim"))) return claim(server_url, input);
  if (same(wanted, TEXT("mark"))) return mark(server_url, input);
  return refused(TEXT("'do' of outbox_publisher is neither claim nor mark"));
}
