/* A plug-in that counts the words of {"text": "..."}; needs no library. Compiled by
 *
 *   clang --target=wasm32 -O2 -nostdlib -mbulk-memory -Wl,--no-entry -o wordcount.wasm wordcount.c
 */

typedef unsigned int u32;
typedef unsigned long long u64;

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(name) __attribute__((import_module("noetl"), import_name(name)))

IMPORT("log") void host_log(int level, const char *text, u32 size);

extern unsigned char __heap_base;
static u32 free_at;

/* Memory is handed out and never taken back: an instance lives for one run. */
EXPORT("alloc") char *alloc(u32 size) {
  if (!free_at) free_at = (u32)&__heap_base;
  u32 at = (free_at + 7) & ~7u;
  free_at = at + size;
  u32 pages = (free_at + 65535) >> 16;
  u32 have = __builtin_wasm_memory_size(0);
  if (pages > have && __builtin_wasm_memory_grow(0, pages - have) == (u32)-1) return 0;
  return (char *)at;
}

static u64 packed(const char *text, u32 size) { return ((u64)(u32)text << 32) | size; }

/* Returns where the text of "text" begins, or 0. */
static const char *find_text(const char *json, u32 size) {
  static const char key[] = "\"text\":\"";
  const u32 length = sizeof key - 1;
  for (u32 at = 0; at + length <= size; at++) {
    u32 same = 0;
    while (same < length && json[at + same] == key[same]) same++;
    if (same == length) return json + at + length;
  }
  return 0;
}

static u32 write_number(char *to, u32 number) {
  char digits[10];
  u32 count = 0;
  do {
    digits[count++] = (char)('0' + number % 10);
    number /= 10;
  } while (number);
  for (u32 at = 0; at < count; at++) to[at] = digits[count - 1 - at];
  return count;
}

EXPORT("run") u64 run(const char *json, u32 size) {
  static const char missing[] = "{\"error\":\"wordcount needs a text\"}";
  static const char before[] = "{\"data\":{\"words\":";
  const char *text = find_text(json, size);
  if (!text) return packed(missing, sizeof missing - 1);
  u32 words = 0;
  int inside = 0;
  for (const char *at = text; at < json + size && *at != '"'; at++) {
    int is_space = *at == ' ' || *at == '\\';
    if (*at == '\\' && at + 1 < json + size) at++;
    if (!is_space && !inside) words++;
    inside = !is_space;
  }
  host_log(1, "counted", 7);
  char *out = alloc(64);
  if (!out) return packed(missing, sizeof missing - 1);
  u32 length = sizeof before - 1;
  for (u32 at = 0; at < length; at++) out[at] = before[at];
  length += write_number(out + length, words);
  out[length++] = '}';
  out[length++] = '}';
  return packed(out, length);
}
