// Switching between stacks: on x86-64 by a few instructions, elsewhere (or with -DOPTMSM_UCONTEXT) by ucontext.
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && !defined(OPTMSM_UCONTEXT)

namespace optmsm_host {

struct Context {
    void* stack_pointer = nullptr;
};

}  // namespace optmsm_host

// Saves what the System V ABI asks a called function to keep (rbx, rbp, r12..r15), goes to the other stack and takes its registers from there.
// The control words of the FPU (mxcsr, x87) are left alone: kernels have no means to change them. `ret`, not a jump, because both sides of a
// switch were called from the same places, which the processor's return predictor then guesses right.
extern "C" __attribute__((visibility("hidden"))) void optmsm_switch(void** from, void* to);
asm(R"(
    .text
    .p2align 4
    .globl optmsm_switch
    .hidden optmsm_switch
    .type optmsm_switch, @function
optmsm_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size optmsm_switch, .-optmsm_switch
)");

namespace optmsm_host {

inline void switch_context(Context& from, Context& to) { optmsm_switch(&from.stack_pointer, to.stack_pointer); }

// A context that calls `entry`, which never returns, on a stack that ends at `top` (16-byte aligned).
inline void make_context(Context& context, char*, char* top, void (*entry)()) {
    void** frame = reinterpret_cast<void**>(top);
    *--frame = nullptr;  // where a caller's return address would be
    *--frame = reinterpret_cast<void*>(entry);
    for (int saved = 0; saved < 6; ++saved) *--frame = nullptr;
    context.stack_pointer = frame;
}

}  // namespace optmsm_host

#else

#include <ucontext.h>

namespace optmsm_host {

struct Context {
    ucontext_t context;
};

inline void switch_context(Context& from, Context& to) { swapcontext(&from.context, &to.context); }

inline void make_context(Context& context, char* bottom, char* top, void (*entry)()) {
    getcontext(&context.context);
    context.context.uc_stack.ss_sp = bottom;
    context.context.uc_stack.ss_size = static_cast<size_t>(top - bottom);
    context.context.uc_link = nullptr;
    makecontext(&context.context, entry, 0);
}

}  // namespace optmsm_host

#endif
