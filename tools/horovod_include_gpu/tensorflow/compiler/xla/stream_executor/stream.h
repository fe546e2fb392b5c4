// Horovod 0.28.1 declares stream_executor::gpu::AsGpuStreamValue, includes this header and leaves the definition to
// TensorFlow, whose libraries have none since 2.20: a GPU build links and then fails to load. This header stands first on
// the include path of GPU builds (tools/build_horovod.sh) and defines it through the accessor that took its place.
#pragma once

#include "xla/stream_executor/stream.h"

namespace stream_executor {
namespace gpu {

// GpuStreamHandle is Horovod's name for cudaStream_t, given before it includes this header.
inline GpuStreamHandle AsGpuStreamValue(Stream* stream) {
  return static_cast<GpuStreamHandle>(stream->platform_specific_handle().stream);
}

}  // namespace gpu
}  // namespace stream_executor
