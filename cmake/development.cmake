# headgate_development: what our own programs, tests and benchmarks are compiled with.
# headgate_native: that, and the instruction set of this machine where HEADGATE_NATIVE is on.
add_library(headgate_development INTERFACE)
target_compile_options(headgate_development
                       INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wold-style-cast)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 reports these after inlining: they come and go with -march, and on the std::string of a test they are false
  # (GCC PR 105329, 105651). So they are seen and end no build; tests/consume takes none of our headers' own.
  target_compile_options(
    headgate_development
    INTERFACE -Wno-error=array-bounds -Wno-error=restrict -Wno-error=stringop-overflow -Wno-error=stringop-overread
              -Wno-error=maybe-uninitialized)
endif()
if(HEADGATE_WERROR)
  target_compile_options(headgate_development INTERFACE -Werror)
endif()
if(HEADGATE_SANITIZE)
  # vptr looks at memory through a pipe of its own and reports nonsense in the test that leaves no descriptor free.
  set(sanitize -fsanitize=${HEADGATE_SANITIZE} -fno-sanitize=vptr -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_options(headgate_development INTERFACE ${sanitize})
  target_link_options(headgate_development INTERFACE ${sanitize})
endif()
if(HEADGATE_COVERAGE)
  if(NOT CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "HEADGATE_COVERAGE needs clang: configure with -DCMAKE_CXX_COMPILER=clang++")
  endif()
  target_compile_options(headgate_development INTERFACE -fprofile-instr-generate -fcoverage-mapping)
  target_link_options(headgate_development INTERFACE -fprofile-instr-generate)
endif()

add_library(headgate_native INTERFACE)
target_link_libraries(headgate_native INTERFACE headgate_development)
if(HEADGATE_NATIVE)
  target_compile_options(headgate_native INTERFACE -march=native)
endif()
