// Loads a run in Go, and scores candidates from several goroutines.
//
//	optmsm train --rows 20000 --run run
//	cargo build --release -p optmsm-c
//	export CGO_CFLAGS=-I$PWD/crates/optmsm-c/include CGO_LDFLAGS="-L$PWD/target/release -Wl,-rpath,$PWD/target/release"
//	go run examples/go/score.go run
package main

/*
#cgo LDFLAGS: -loptmsm_c
#include <stdlib.h>
#include "optmsm.h"
*/
import "C"

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"unsafe"
)

// Model is a loaded run, which any number of goroutines may ask.
type Model struct {
	model *C.optmsm_model
}

// failure takes the text of an error, and frees it.
func failure(status C.optmsm_status, e *C.optmsm_error) error {
	if status == C.OPTMSM_STATUS_OK {
		return nil
	}
	defer C.optmsm_error_free(e)
	return fmt.Errorf("optmsm: error %d: %s", int(status), C.GoString(C.optmsm_error_message(e)))
}

// Load opens the run in a folder.
func Load(run string) (*Model, error) {
	folder := C.CString(run)
	defer C.free(unsafe.Pointer(folder))
	var model Model
	var e *C.optmsm_error
	status := C.optmsm_load(folder, nil, &model.model, &e)
	return &model, failure(status, e)
}

// Close frees the model, which no goroutine may be asking.
func (m *Model) Close() {
	C.optmsm_free(m.model)
	m.model = nil
}

// Request is one user and many items.
type Request struct {
	Scenario string           `json:"scenario"`
	User     map[string]any   `json:"user"`
	Items    []map[string]any `json:"items"`
}

// Score gives a probability for each item.
func (m *Model) Score(request Request) ([]float32, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	out := make([]float32, len(request.Items)+1) // so that there is an address without items, too
	var count C.size_t
	var e *C.optmsm_error
	status := C.optmsm_score_json(m.model, (*C.char)(unsafe.Pointer(&text[0])), C.size_t(len(text)),
		(*C.float)(unsafe.Pointer(&out[0])), C.size_t(len(request.Items)), &count, &e)
	return out[:count], failure(status, e)
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: score RUN")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(folder string) error {
	model, err := Load(folder)
	if err != nil {
		return err
	}
	defer model.Close()
	request := Request{
		Scenario: "home",
		User:     map[string]any{"user_id": "u17", "user_segment": "s1", "position": 0, "device": "phone"},
		Items: []map[string]any{
			{"item_id": "i3", "category": "c2", "tags": []string{"t1", "t7"}, "price": 12.5},
			{"item_id": "i8", "category": "c0", "tags": []string{"t2"}, "price": 3},
			{"item_id": "i21", "category": "c1", "tags": []string{}, "price": 48},
		},
	}
	const askers = 4
	answers, errs := make([][]float32, askers), make([]error, askers)
	var all sync.WaitGroup
	for i := 0; i < askers; i++ {
		all.Add(1)
		go func(i int) {
			defer all.Done()
			answers[i], errs[i] = model.Score(request)
		}(i)
	}
	all.Wait()
	for i, answer := range answers {
		if errs[i] != nil {
			return errs[i]
		}
		for item, probability := range answer {
			fmt.Printf("asker %d item %d %.9g\n", i, item, probability)
		}
	}
	// An error is a value, as in any Go.
	request.Scenario = "nowhere"
	if _, err := model.Score(request); err != nil {
		fmt.Println("refused:", err)
	}
	return nil
}
