/*
 * The C interface of OptMSM: load a trained run, score rows and candidates. docs/c.md is its guide.
 *
 * - Functions return OPTMSM_STATUS_OK, or say in *error what is wrong; free that with optmsm_error_free.
 * - Any number of threads may use a model at the same time. Free it when none does.
 * - Texts are UTF-8. Pointers of arguments may be NULL only where that is said, or where they are of no values: otherwise they are an
 *   error, not a crash. A pointer that is not NULL has to point to as much as is said of it, aligned as C aligns its type.
 * - The library keeps no pointer of an argument.
 *
 * Made by cbindgen from the crate optmsm-c; changes belong there.
 */

#ifndef OPTMSM_H
#define OPTMSM_H

#include <stddef.h>
#include <stdint.h>

/** Options as NULL means them. */
#define OPTMSM_OPTIONS_INIT { sizeof(optmsm_options), 0, 0, 0, 0, 0 }

/**
 * Version of this interface. It grows when a program that was built with an older header would not work.
 */
#define OPTMSM_ABI_VERSION 1

/**
 * Outcome of a call.
 */
typedef enum {
    /**
     * All is done.
     */
    OPTMSM_STATUS_OK = 0,
    /**
     * The call cannot be: a null pointer, text that is not UTF-8, a column that the model has not. Correct the program.
     */
    OPTMSM_STATUS_ARGUMENT = 1,
    /**
     * A value cannot be scored: an unknown scenario, text that is no number. The message names row and column.
     */
    OPTMSM_STATUS_VALUE = 2,
    /**
     * The run cannot be read: it is missing, damaged or of another version.
     */
    OPTMSM_STATUS_RUN = 3,
    /**
     * The device failed, or there is none, or its memory is short.
     */
    OPTMSM_STATUS_DEVICE = 4,
    /**
     * There are more answers than room for them. Nothing was scored.
     */
    OPTMSM_STATUS_CAPACITY = 5,
    /**
     * A fault of this library, which is worth a report. The model can still be used.
     */
    OPTMSM_STATUS_INTERNAL = 6,
} optmsm_status;

/**
 * Kind of the values of a column.
 */
typedef enum {
    /**
     * There is no such column.
     */
    OPTMSM_KIND_NONE = 0,
    /**
     * One value: a text, or a number whose text is meant.
     */
    OPTMSM_KIND_TEXT = 1,
    /**
     * One number.
     */
    OPTMSM_KIND_NUMBER = 2,
    /**
     * Any number of values.
     */
    OPTMSM_KIND_LIST = 3,
    /**
     * Any number of values, each with a weight.
     */
    OPTMSM_KIND_WEIGHTED_LIST = 4,
} optmsm_kind;

/**
 * Where a model computes.
 */
typedef enum {
    /**
     * Cores.
     */
    OPTMSM_BACKEND_CPU = 0,
    /**
     * An NVIDIA GPU.
     */
    OPTMSM_BACKEND_CUDA = 1,
} optmsm_backend;

/**
 * Type of the values of an optmsm_column.
 */
typedef enum {
    /**
     * There are none: all rows lack the value. values is not read.
     */
    OPTMSM_TYPE_MISSING = 0,
    /**
     * const char *: texts in UTF-8. NULL is a missing value.
     */
    OPTMSM_TYPE_TEXT = 1,
    /**
     * int64_t
     */
    OPTMSM_TYPE_INT64 = 2,
    /**
     * uint64_t
     */
    OPTMSM_TYPE_UINT64 = 3,
    /**
     * double. An integral one is the same value as the integer.
     */
    OPTMSM_TYPE_DOUBLE = 4,
    /**
     * uint8_t, as C's bool: 0 is false.
     */
    OPTMSM_TYPE_BOOL = 5,
} optmsm_type;

/**
 * An error, which optmsm_error_free frees.
 */
typedef struct optmsm_error optmsm_error;

/**
 * A loaded model. Any number of threads may use it at the same time; nothing changes it. optmsm_free frees it.
 */
typedef struct optmsm_model optmsm_model;

/**
 * How a model is loaded. Begin with OPTMSM_OPTIONS_INIT, which is what NULL means, and change members by name.
 */
typedef struct {
    /**
     * sizeof(optmsm_options). The library takes the members that a program was built with for all there are.
     */
    size_t size;
    /**
     * Bytes that tables of folded layers may take; 0 leaves layers as they are. Folding makes scoring faster, and moves
     * probabilities by rounding.
     */
    uint64_t fold_memory;
    /**
     * Threads that one large call computes with; 0 takes as many as the run's configuration says.
     */
    uint32_t threads;
    /**
     * An optmsm_backend.
     */
    int32_t backend;
    /**
     * Anything but 0 leaves the run's calibration out.
     */
    uint32_t uncalibrated;
    /**
     * 0.
     */
    uint32_t reserved;
} optmsm_options;

/**
 * Values of a column for some rows. Any type does for any kind of column whose values it can say: a category may be a number, and
 * a number a text. The library reads all of it during a call, and keeps none of it.
 *
 * A list has offsets: row r has `values[offsets[r]]` up to but without `values[offsets[r + 1]]`.
 */
typedef struct {
    /**
     * Name, as optmsm_column_name gives it.
     */
    const char *name;
    /**
     * An optmsm_type.
     */
    int32_t type;
    /**
     * The values, as type says: one a row, or those of all lists.
     */
    const void *values;
    /**
     * Bytes of each text; NULL if all texts end with NUL.
     */
    const size_t *lengths;
    /**
     * Of lists: one more than there are rows, which do not fall. NULL if each row has one value.
     */
    const size_t *offsets;
    /**
     * Of lists: a weight for each value, or NULL. Of a weighted column without weights, the texts have them ("a:0.5").
     */
    const double *weights;
    /**
     * 0 for each row whose value, or whole list, is missing; NULL if none is.
     */
    const uint8_t *present;
} optmsm_column;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * OPTMSM_ABI_VERSION of the library, which a program that loads it compares with that of its header.
 */
uint32_t optmsm_abi_version(void);

/**
 * Version of the library, as "0.1.0". It is never freed.
 */
const char *optmsm_version(void);

/**
 * Outcome of an error, as the call returned it; OPTMSM_STATUS_OK of NULL.
 */
optmsm_status optmsm_error_status(const optmsm_error *error);

/**
 * The fault, its place, and the remedy, in UTF-8; an empty text of NULL. It lives as long as the error.
 */
const char *optmsm_error_message(const optmsm_error *error);

/**
 * Frees an error. NULL is left alone.
 */
void optmsm_error_free(optmsm_error *error);

/**
 * Loads the run in a folder, which `optmsm train` wrote.
 *
 * run: path of the folder; UTF-8 on Windows, any bytes elsewhere.
 * options: NULL for none.
 * model: is set to the model, or to NULL after an error.
 * error: is set to the error, or to NULL without one; may be NULL.
 */
optmsm_status optmsm_load(const char *run, const optmsm_options *options, optmsm_model **model, optmsm_error **error);

/**
 * Frees a model, which no thread may be using. NULL is left alone.
 */
void optmsm_free(optmsm_model *model);

/**
 * Number of columns of a row: that of the scenario, which is the first, and those that fields read. 0 of NULL.
 */
size_t optmsm_column_count(const optmsm_model *model);

/**
 * Name of a column, by its number from 0; NULL if there is none. It lives as long as the model.
 */
const char *optmsm_column_name(const optmsm_model *model, size_t column);

/**
 * Kind of a column, by its number.
 */
optmsm_kind optmsm_column_kind(const optmsm_model *model, size_t column);

/**
 * Number of scenarios; 0 of NULL.
 */
size_t optmsm_scenario_count(const optmsm_model *model);

/**
 * Name of a scenario, by its number from 0; NULL if there is none. It lives as long as the model.
 */
const char *optmsm_scenario_name(const optmsm_model *model, size_t scenario);

/**
 * SHA-256 of the parameters in hexadecimal, for logs; NULL of NULL. It lives as long as the model.
 */
const char *optmsm_fingerprint(const optmsm_model *model);

/**
 * Name of the device, for logs; NULL of NULL. It lives as long as the model.
 */
const char *optmsm_device(const optmsm_model *model);

/**
 * Scores rows.
 *
 * columns: all columns of the model, in any order; one that is not at hand has the type OPTMSM_TYPE_MISSING.
 * rows: number of rows that each column has.
 * probabilities: room for one a row, in the order of the rows; not written after an error.
 * error: is set to the error, or to NULL without one; may be NULL.
 */
optmsm_status optmsm_score(const optmsm_model *model,
                           const optmsm_column *columns,
                           size_t column_count,
                           size_t rows,
                           float *probabilities,
                           optmsm_error **error);

/**
 * Scores the candidates of one request. What the user, or the request, has in common for all candidates is read once.
 *
 * user: columns with one row, that of the scenario among them.
 * items: the other columns of the model, with a row for each candidate; one that is not at hand has the type OPTMSM_TYPE_MISSING.
 * count: number of candidates.
 * probabilities: room for one a candidate, in their order; not written after an error.
 * error: is set to the error, or to NULL without one; may be NULL.
 */
optmsm_status optmsm_candidates(const optmsm_model *model,
                                const optmsm_column *user,
                                size_t user_count,
                                const optmsm_column *items,
                                size_t item_count,
                                size_t count,
                                float *probabilities,
                                optmsm_error **error);

/**
 * Scores rows, or the candidates of one request, that are a text of JSON: for bindings that would rather not fill columns.
 *
 * Rows are an array of objects, `[{"column": value, ...}, ...]`, or `{"rows": [...]}`. A request is
 * `{"user": {...}, "scenario": ..., "items": [{...}, ...]}`: what is in user holds for all items; scenario may also stand in user, under
 * the name of its column. Every column has to be there, null where it is missing; keys that are no columns are left alone. A list
 * is an array of values, a weighted one an array of pairs `[value, weight]`.
 *
 * json: UTF-8.
 * length: its bytes.
 * probabilities: room for capacity of them; one for each row or item is written, in their order.
 * count: is set to the number of rows or items, also where that is above capacity; to 0 after other errors in the text.
 * error: is set to the error, or to NULL without one; may be NULL.
 */
optmsm_status optmsm_score_json(const optmsm_model *model,
                                const char *json,
                                size_t length,
                                float *probabilities,
                                size_t capacity,
                                size_t *count,
                                optmsm_error **error);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* OPTMSM_H */
