/*
 * Loads a run, and scores two rows and the candidates of one request.
 *
 *     optmsm train --rows 20000 --run run
 *     cargo build --release -p optmsm-c
 *     gcc -std=c99 -I crates/optmsm-c/include examples/c/score.c -L target/release -loptmsm_c -o score
 *     LD_LIBRARY_PATH=target/release ./score run
 */

#include <stdio.h>
#include <string.h>

#include "optmsm.h"

/* Prints and frees an error. */
static int failed(optmsm_status status, optmsm_error *error) {
    fprintf(stderr, "error %d: %s\n", (int)status, optmsm_error_message(error));
    optmsm_error_free(error);
    return 1;
}

static const char *kind(optmsm_kind kind) {
    static const char *const kinds[] = {"none", "text", "number", "list", "weighted list"};
    return kinds[kind];
}

/* Columns with one value a row. */
#define TEXTS(column, texts) {.name = column, .type = OPTMSM_TYPE_TEXT, .values = texts}
#define INTS(column, ints) {.name = column, .type = OPTMSM_TYPE_INT64, .values = ints}
#define LEN(array) (sizeof(array) / sizeof(array)[0])

/* Two rows, in columns. */
static int rows(const optmsm_model *model) {
    const char *scenarios[] = {"home", "search"};
    const char *users[] = {"u17", "u4"}, *items[] = {"i3", "new"}, *segments[] = {"s1", "s0"}, *categories[] = {"c2", "c5"};
    /* The first row has two tags, the second one has none. */
    const char *tags[] = {"t1", "t7"};
    const size_t offsets[] = {0, 2, 2};
    const double prices[] = {12.5, 0};
    const uint8_t priced[] = {1, 0}; /* the price of the second row is not known */
    const int64_t positions[] = {0, 3};
    const optmsm_column columns[] = {
        TEXTS("scenario", scenarios),
        TEXTS("user_id", users),
        TEXTS("item_id", items),
        TEXTS("user_segment", segments),
        TEXTS("category", categories),
        {.name = "tags", .type = OPTMSM_TYPE_TEXT, .values = tags, .offsets = offsets},
        {.name = "price", .type = OPTMSM_TYPE_DOUBLE, .values = prices, .present = priced},
        INTS("position", positions),
        {.name = "device", .type = OPTMSM_TYPE_MISSING},
    };
    float probabilities[LEN(users)];
    optmsm_error *error;
    optmsm_status status = optmsm_score(model, columns, LEN(columns), LEN(users), probabilities, &error);
    if (status != OPTMSM_STATUS_OK) return failed(status, error);
    for (size_t i = 0; i < LEN(users); i++) printf("row %zu %.9g\n", i, probabilities[i]);
    return 0;
}

/* Three candidates of one user. */
static int candidates(const optmsm_model *model) {
    const char *scenario = "home", *user_id = "u17", *segment = "s1", *device = "phone";
    const int64_t position = 0;
    const optmsm_column user[] = {
        TEXTS("scenario", &scenario),
        TEXTS("user_id", &user_id),
        TEXTS("user_segment", &segment),
        INTS("position", &position),
        TEXTS("device", &device),
    };
    const char *item_ids[] = {"i3", "i8", "i21"}, *categories[] = {"c2", "c0", "c1"};
    const char *tags[] = {"t1", "t7", "t2"}; /* two, one and none */
    const size_t offsets[] = {0, 2, 3, 3};
    const double prices[] = {12.5, 3.0, 48.0};
    const optmsm_column items[] = {
        TEXTS("item_id", item_ids),
        TEXTS("category", categories),
        {.name = "tags", .type = OPTMSM_TYPE_TEXT, .values = tags, .offsets = offsets},
        {.name = "price", .type = OPTMSM_TYPE_DOUBLE, .values = prices},
    };
    float probabilities[LEN(item_ids)];
    optmsm_error *error;
    optmsm_status status = optmsm_candidates(model, user, LEN(user), items, LEN(items), LEN(item_ids), probabilities, &error);
    if (status != OPTMSM_STATUS_OK) return failed(status, error);
    for (size_t i = 0; i < LEN(item_ids); i++) printf("candidate %zu %.9g\n", i, probabilities[i]);
    return 0;
}

/* The same candidates as JSON. */
static int json(const optmsm_model *model) {
    const char *text =
        "{\"scenario\": \"home\", \"user\": {\"user_id\": \"u17\", \"user_segment\": \"s1\", \"position\": 0, \"device\": \"phone\"},"
        " \"items\": ["
        "{\"item_id\": \"i3\", \"category\": \"c2\", \"tags\": [\"t1\", \"t7\"], \"price\": 12.5},"
        "{\"item_id\": \"i8\", \"category\": \"c0\", \"tags\": [\"t2\"], \"price\": 3},"
        "{\"item_id\": \"i21\", \"category\": \"c1\", \"tags\": [], \"price\": 48}]}";
    float probabilities[16];
    size_t count;
    optmsm_error *error;
    optmsm_status status = optmsm_score_json(model, text, strlen(text), probabilities, LEN(probabilities), &count, &error);
    if (status != OPTMSM_STATUS_OK) return failed(status, error);
    for (size_t i = 0; i < count; i++) printf("json %zu %.9g\n", i, probabilities[i]);
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: score RUN\n");
        return 2;
    }
    if (optmsm_abi_version() != OPTMSM_ABI_VERSION) {
        fprintf(stderr, "the library %s is of another version than its header\n", optmsm_version());
        return 2;
    }
    optmsm_options options = OPTMSM_OPTIONS_INIT;
    options.threads = 1;
    optmsm_model *model;
    optmsm_error *error;
    optmsm_status status = optmsm_load(argv[1], &options, &model, &error);
    if (status != OPTMSM_STATUS_OK) return failed(status, error);
    for (size_t i = 0; i < optmsm_column_count(model); i++)
        printf("column %s: %s\n", optmsm_column_name(model, i), kind(optmsm_column_kind(model, i)));
    int code = rows(model) || candidates(model) || json(model);
    optmsm_free(model);
    return code;
}
