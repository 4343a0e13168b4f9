#include "runtime/frame_pool.h"

#include <cstdint>
#include <new>

namespace trellis {
inline namespace runtime {

#if defined(__SANITIZE_ADDRESS__)
#define TRELLIS_FRAME_POOL 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TRELLIS_FRAME_POOL 0
#endif
#endif
#ifndef TRELLIS_FRAME_POOL
#define TRELLIS_FRAME_POOL 1
#endif

#if TRELLIS_FRAME_POOL
namespace {
constexpr size_t kGrain = 64;
constexpr size_t kClasses = 64;              // up to 4 KiB; larger frames go to malloc
constexpr uint32_t kKeepBytes = 256 * 1024;  // a class

struct FreeFrame {
  FreeFrame* next;
};
struct FrameClass {
  FreeFrame* head = nullptr;
  uint32_t bytes = 0;
};
struct FrameLists {
  FrameClass classes[kClasses];
  ~FrameLists() {
    for (FrameClass& c : classes) {
      while (c.head) {
        FreeFrame* next = c.head->next;
        ::operator delete(c.head);
        c.head = next;
      }
      c.bytes = UINT32_MAX / 2;  // frames freed after this thread's end go straight to the heap
    }
  }
};
thread_local FrameLists lists;
}  // namespace

void* frame_alloc(size_t size) {
  const size_t index = (size - 1) / kGrain;
  if (index >= kClasses) [[unlikely]]
    return ::operator new(size);
  FrameClass& c = lists.classes[index];
  if (FreeFrame* frame = c.head) [[likely]] {
    c.head = frame->next;
    c.bytes -= static_cast<uint32_t>((index + 1) * kGrain);
    return frame;
  }
  return ::operator new((index + 1) * kGrain);
}

void frame_free(void* memory, size_t size) noexcept {
  const size_t index = (size - 1) / kGrain;
  if (index >= kClasses) [[unlikely]]
    return ::operator delete(memory);
  FrameClass& c = lists.classes[index];
  if (c.bytes >= kKeepBytes) [[unlikely]]
    return ::operator delete(memory);
  auto* frame = static_cast<FreeFrame*>(memory);
  frame->next = c.head;
  c.head = frame;
  c.bytes += static_cast<uint32_t>((index + 1) * kGrain);
}
#else
void* frame_alloc(size_t size) { return ::operator new(size); }
void frame_free(void* frame, size_t) noexcept { ::operator delete(frame); }
#endif

}  // namespace runtime
}  // namespace trellis
