/* Removes what is older than its retention; the input has the three numbers. */

#include "plugin.h"

EXPORT("run") u64 run(const char *json, u32 size) {
  static const char *const names[] = {"command_retention_days", "runtime_stale_minutes",
                                      "event_retention_days"};
  static const u32 sizes[] = {22, 21, 20};
  text input = value_of((text){json, size}, TEXT("input"));
  text server_url = text_of(value_of(input, TEXT("server_url")));
  text path = TEXT("/api/internal/cleanup/purge");
  if (!server_url.size) return refused(TEXT("scheduled_cleanup needs 'server_url'"));
  builder body = {0, 0, 0};
  for (u32 at = 0; at < 3; at++) {
    text value = value_of(input, (text){names[at], sizes[at]});
    if (!value.size) continue;
    put(&body, body.size ? TEXT(",") : TEXT("{"));
    put_quoted(&body, (text){names[at], sizes[at]});
    put(&body, TEXT(":"));
    put(&body, value);
  }
  put(&body, body.size ? TEXT("}") : TEXT("{}"));
  answer given = post(server_url, path, built(&body));
  return is_good(given) ? result(given.body) : failed(path, given);
}
