/* Moves the read model to where the logs are, page by page. A run takes `PAGES` of them, and says
 * whether there may be more. */

#include "plugin.h"

#define PAGES 20

EXPORT("run") u64 run(const char *json, u32 size) {
  text input = value_of((text){json, size}, TEXT("input"));
  text server_url = text_of(value_of(input, TEXT("server_url")));
  text path = TEXT("/api/internal/projection/advance");
  i64 limit = number_of(value_of(input, TEXT("limit")), 1000);
  i64 checked = 0, advanced = 0, last = 0;
  if (!server_url.size) return refused(TEXT("projector needs 'server_url'"));
  if (limit < 1) return refused(TEXT("'limit' of projector is less than 1"));
  builder body = {0, 0, 0};
  put(&body, TEXT("{\"limit\":"));
  put_number(&body, limit);
  put(&body, TEXT("}"));
  for (u32 page = 0; page < PAGES; page++) {
    answer given = post(server_url, path, built(&body));
    if (!is_good(given)) return failed(path, given);
    last = number_of(value_of(given.body, TEXT("checked")), 0);
    checked += last;
    advanced += number_of(value_of(given.body, TEXT("advanced")), 0);
    if (last < limit) break;
  }
  builder data = {0, 0, 0};
  put(&data, TEXT("{\"checked\":"));
  put_number(&data, checked);
  put(&data, TEXT(",\"advanced\":"));
  put_number(&data, advanced);
  put(&data, last >= limit ? TEXT(",\"more\":true}") : TEXT(",\"more\":false}"));
  return result(built(&data));
}
