/* What the system's plug-ins share: memory, texts, JSON, and requests to the control plane.
 *
 * Memory is handed out and never taken back: an instance lives for one run. When there is none
 * left the module traps, and the worker says so.
 *
 * The modules beside it are made by the command of ../wordcount/wordcount.c, for each of the names:
 *
 *   clang --target=wasm32 -O2 -nostdlib -mbulk-memory -Wl,--no-entry -o NAME.wasm NAME.c
 */

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define EXPORT(name) __attribute__((export_name(name)))
#define IMPORT(name) __attribute__((import_module("noetl"), import_name(name)))
#define TEXT(literal) ((text){literal, sizeof literal - 1})
#define NONE ((text){0, 0})

/* A part of some text; `at` is 0 where there is none. */
typedef struct {
  const char *at;
  u32 size;
} text;

/* A text that grows. */
typedef struct {
  char *at;
  u32 size, room;
} builder;

IMPORT("http") u64 host_http(const char *request, u32 size);

extern unsigned char __heap_base;
static u32 free_at;

EXPORT("alloc") char *alloc(u32 size) {
  if (!free_at) free_at = (u32)&__heap_base;
  u32 at = (free_at + 7) & ~7u;
  u64 end = (u64)at + size;
  u32 pages = (u32)((end + 65535) >> 16);
  u32 have = __builtin_wasm_memory_size(0);
  if (end >> 32 || (pages > have && __builtin_wasm_memory_grow(0, pages - have) == (u32)-1))
    __builtin_trap();
  free_at = (u32)end;
  return (char *)at;
}

static u64 packed(text given) { return ((u64)(u32)given.at << 32) | given.size; }

static text unpacked(u64 given) { return (text){(const char *)(u32)(given >> 32), (u32)given}; }

/* Texts. */

static void put(builder *to, text more) {
  if (to->size + more.size > to->room) {
    u32 room = (to->size + more.size) * 2 + 64;
    char *larger = alloc(room);
    __builtin_memcpy(larger, to->at, to->size);
    to->at = larger;
    to->room = room;
  }
  __builtin_memcpy(to->at + to->size, more.at, more.size);
  to->size += more.size;
}

/* Puts a number that isn't negative. */
static void put_number(builder *to, i64 number) {
  char digits[20];
  u32 first = sizeof digits;
  do {
    digits[--first] = (char)('0' + number % 10);
    number /= 10;
  } while (number);
  put(to, (text){digits + first, sizeof digits - first});
}

/* Puts a text as JSON. */
static void put_quoted(builder *to, text given) {
  static const char digits[] = "0123456789abcdef";
  put(to, TEXT("\""));
  for (u32 at = 0; at < given.size; at++) {
    unsigned char one = (unsigned char)given.at[at];
    if (one < 0x20) {
      char escaped[6] = {'\\', 'u', '0', '0', digits[one >> 4], digits[one & 15]};
      put(to, (text){escaped, 6});
    } else {
      if (one == '"' || one == '\\') put(to, TEXT("\\"));
      put(to, (text){given.at + at, 1});
    }
  }
  put(to, TEXT("\""));
}

static text built(const builder *one) { return (text){one->at, one->size}; }

static int same(text one, text other) {
  if (one.size != other.size) return 0;
  for (u32 at = 0; at < one.size; at++)
    if (one.at[at] != other.at[at]) return 0;
  return 1;
}

/* JSON. The worker and the control plane write it, so it is well formed. */

static int is_blank(char one) { return one == ' ' || one == '\n' || one == '\r' || one == '\t'; }

/* Returns where a value ends that begins at `at`. */
static u32 end_of(text json, u32 at) {
  u32 depth = 0;
  int inside = 0;
  for (; at < json.size; at++) {
    char one = json.at[at];
    if (inside) {
      if (one == '\\')
        at++;
      else if (one == '"') {
        inside = 0;
        if (!depth) return at + 1;
      }
    } else if (one == '"')
      inside = 1;
    else if (one == '{' || one == '[')
      depth++;
    else if (one == '}' || one == ']') {
      if (!depth) return at;
      if (!--depth) return at + 1;
    } else if (!depth && (one == ',' || one == ':' || is_blank(one)))
      return at;
  }
  return json.size;
}

/* Takes the next value of an object or a list, a key as well; 0 when there is none left.
 * `at` is 1 before the first one. */
static int next(text json, u32 *at, text *found) {
  while (*at < json.size && (is_blank(json.at[*at]) || json.at[*at] == ',' || json.at[*at] == ':'))
    ++*at;
  u32 end = end_of(json, *at);
  if (end == *at) return 0;
  *found = (text){json.at + *at, end - *at};
  *at = end;
  return 1;
}

/* Returns the value of a key of an object, as JSON. */
static text value_of(text json, text key) {
  text name, value;
  if (!json.size || json.at[0] != '{') return NONE;
  for (u32 at = 1; next(json, &at, &name) && next(json, &at, &value);)
    if (name.size >= 2 && same((text){name.at + 1, name.size - 2}, key)) return value;
  return NONE;
}

static u32 hex(char one) { return (u32)(one <= '9' ? one - '0' : (one | 32) - 'a' + 10); }

/* Returns the text that a JSON text stands for; nothing where it is none. The worker writes
 * characters as they are, and `\u00..` for those that it can't. */
static text text_of(text json) {
  if (json.size < 2 || json.at[0] != '"') return NONE;
  char *made = alloc(json.size);
  u32 size = 0, end = json.size - 1;
  for (u32 at = 1; at < end; at++) {
    char one = json.at[at];
    if (one != '\\') {
      made[size++] = one;
      continue;
    }
    one = json.at[++at];
    if (one == 'u') {
      if (at + 4 >= end || json.at[at + 1] != '0' || json.at[at + 2] != '0') __builtin_trap();
      one = (char)(hex(json.at[at + 3]) << 4 | hex(json.at[at + 4]));
      if (one & 0x80) __builtin_trap();
      at += 4;
    } else if (one == 'n')
      one = '\n';
    else if (one == 't')
      one = '\t';
    else if (one == 'r')
      one = '\r';
    else if (one == 'b')
      one = '\b';
    else if (one == 'f')
      one = '\f';
    made[size++] = one;
  }
  return (text){made, size};
}

/* Returns a whole number that isn't negative, also of a text that holds one; `absent` where there is none. */
static i64 number_of(text json, i64 absent) {
  i64 value = 0;
  if (json.size > 2 && json.at[0] == '"') json = (text){json.at + 1, json.size - 2};
  if (!json.size || json.size > 18) return absent;
  for (u32 at = 0; at < json.size; at++) {
    if (json.at[at] < '0' || json.at[at] > '9') return absent;
    value = value * 10 + (json.at[at] - '0');
  }
  return value;
}

/* Requests to the control plane. */

/* An answer: its status, 0 where none came, and its body, or why none came. */
typedef struct {
  i64 status;
  text body;
} answer;

/* Posts JSON to a path of the control plane, with the credential of the step. */
static answer post(text server_url, text path, text body) {
  builder request = {0, 0, 0}, url = {0, 0, 0};
  while (server_url.size && server_url.at[server_url.size - 1] == '/') server_url.size--;
  put(&url, server_url);
  put(&url, path);
  put(&request, TEXT("{\"method\":\"POST\",\"auth\":true,\"url\":"));
  put_quoted(&request, built(&url));
  put(&request, TEXT(",\"headers\":{\"content-type\":\"application/json\"},\"body\":"));
  put_quoted(&request, body);
  put(&request, TEXT("}"));
  text given = unpacked(host_http(request.at, request.size));
  i64 status = number_of(value_of(given, TEXT("status")), 0);
  return (answer){status, text_of(value_of(given, status ? TEXT("body") : TEXT("error")))};
}

static int is_good(answer given) { return given.status >= 200 && given.status < 300; }

/* Results. */

/* Returns the result of a run: JSON. */
static u64 result(text data) {
  builder made = {0, 0, 0};
  put(&made, TEXT("{\"data\":"));
  put(&made, data);
  put(&made, TEXT("}"));
  return packed(built(&made));
}

/* Returns an error as the result of a run. */
static u64 failed(text path, answer given) {
  builder made = {0, 0, 0}, said = {0, 0, 0};
  put(&said, path);
  put(&said, TEXT(": "));
  if (given.status) {
    put(&said, TEXT("HTTP "));
    put_number(&said, given.status);
    put(&said, TEXT(" "));
  }
  if (given.body.size > 500) given.body.size = 500;
  put(&said, given.body);
  put(&made, TEXT("{\"error\":"));
  put_quoted(&made, built(&said));
  put(&made, TEXT(",\"kind\":"));
  put(&made, !given.status                                   ? TEXT("\"connection\"")
             : given.status == 401 || given.status == 403    ? TEXT("\"auth\"")
             : given.status == 429                           ? TEXT("\"rate_limit\"")
             : given.status >= 500                           ? TEXT("\"server_error\"")
                                                             : TEXT("\"client_error\""));
  put(&made, !given.status || given.status == 429 || given.status >= 500
                 ? TEXT(",\"retryable\":true}")
                 : TEXT("}"));
  return packed(built(&made));
}

/* Returns an error of the input. */
static u64 refused(text why) {
  builder made = {0, 0, 0};
  put(&made, TEXT("{\"error\":"));
  put_quoted(&made, why);
  put(&made, TEXT("}"));
  return packed(built(&made));
}
