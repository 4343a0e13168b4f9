// Memory for coroutine frames: size classes with a free list per thread, so that a request's nested frames cost no
// malloc. A frame is freed on the thread that made it (Tasks stay on their core); a stray one is still correct, its
// memory just moves to the other thread's list. Off under AddressSanitizer, which then sees every frame's true life.
#pragma once

#include <cstddef>

namespace trellis {
inline namespace runtime {

void* frame_alloc(size_t size);
void frame_free(void* frame, size_t size) noexcept;

}  // namespace runtime
}  // namespace trellis
