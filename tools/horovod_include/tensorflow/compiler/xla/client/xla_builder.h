// Horovod 0.28.1 includes this header, which TensorFlow 2.20 and later no longer ship under this name. This one stands
// first on the include path (tools/build_horovod.sh) and leads to where the declarations are now.
#pragma once

#include "absl/status/statusor.h"
#include "xla/hlo/builder/xla_builder.h"

namespace xla {

// The old spelling, gone from XLA; Horovod still writes it.
template <typename T>
using StatusOr = absl::StatusOr<T>;

}  // namespace xla
