# System packages first. What the system lacks is downloaded (HEADGATE_FETCH_DEPS), its hash checked; what cannot be had
# ends the configure step with one sentence that names the Debian packages. PCRE2 and utf8proc come from the system only:
# every system packages them, and two copies of a C library in one process are a trap.
#
# FETCHCONTENT_SOURCE_DIR_<NAME> and FETCHCONTENT_TRY_FIND_PACKAGE_MODE=NEVER work as they do for FetchContent.
include(FetchContent)
include(${CMAKE_CURRENT_LIST_DIR}/system_libraries.cmake)

set(headgate_missing_packages "")
set(headgate_system_headers ${PROJECT_BINARY_DIR}/system_headers)

# headgate_dependency(<name> TARGET <target> DEBIAN <package> [VERSION <least>] URL <archive> HASH <hash> [HEADERS <folder>]
#                     [FOLDER <folder> [DEFINES <macro>...]])
# makes <target> available, and <name>_VERSION where the system has it. With HEADERS the archive is only unpacked, and <folder> of it is the include directory.
# FOLDER: which folder of /usr/include holds the headers that suffice where HEADGATE_SYSTEM_HEADERS_ONLY is on, given the macros.
function(headgate_dependency name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "TARGET;DEBIAN;VERSION;URL;HASH;HEADERS;FOLDER" "DEFINES")
  string(TOUPPER ${name} upper)
  if(TARGET ${arg_TARGET})
    return()
  endif()
  if(HEADGATE_SYSTEM_HEADERS_ONLY AND arg_FOLDER AND IS_DIRECTORY /usr/include/${arg_FOLDER})
    # A link to this folder alone: the rest of /usr/include is another machine's.
    cmake_path(GET arg_FOLDER FILENAME folder)
    file(MAKE_DIRECTORY ${headgate_system_headers}/${name})
    file(CREATE_LINK /usr/include/${arg_FOLDER} ${headgate_system_headers}/${name}/${folder} SYMBOLIC)
    add_library(${arg_TARGET} INTERFACE IMPORTED GLOBAL)
    target_include_directories(${arg_TARGET} INTERFACE ${headgate_system_headers}/${name})
    target_compile_definitions(${arg_TARGET} INTERFACE ${arg_DEFINES})
    return()
  endif()
  if(NOT FETCHCONTENT_TRY_FIND_PACKAGE_MODE STREQUAL "NEVER" AND NOT FETCHCONTENT_SOURCE_DIR_${upper})
    if(name STREQUAL "xsimd")
      headgate_system_library(xsimd xsimd/xsimd.hpp)
    else()
      find_package(${name} QUIET GLOBAL) # without a version: Eigen's own check refuses 5 where 3.4 is asked for
      if(arg_VERSION AND ${name}_FOUND AND ${name}_VERSION VERSION_LESS arg_VERSION)
        message(FATAL_ERROR "headgate needs ${name} ${arg_VERSION} or newer and found ${${name}_VERSION}.")
      endif()
      set(${name}_VERSION ${${name}_VERSION} PARENT_SCOPE)
    endif()
    if(TARGET ${arg_TARGET})
      return()
    endif()
  endif()

  if(FETCHCONTENT_SOURCE_DIR_${upper})
    set(source "") # FetchContent takes the folder it is given
  elseif(HEADGATE_FETCH_DEPS AND NOT FETCHCONTENT_FULLY_DISCONNECTED)
    get_filename_component(archive "${arg_URL}" NAME)
    set(archive "${FETCHCONTENT_BASE_DIR}/${name}-${archive}")
    file(DOWNLOAD "${arg_URL}" "${archive}.part" STATUS status INACTIVITY_TIMEOUT 20)
    list(GET status 0 code)
    if(code EQUAL 0)
      file(RENAME "${archive}.part" "${archive}")
      set(source URL "${archive}" URL_HASH "${arg_HASH}")
    else()
      file(REMOVE "${archive}.part")
    endif()
  endif()
  if(NOT DEFINED source)
    set(headgate_missing_packages ${headgate_missing_packages} ${arg_DEBIAN} PARENT_SCOPE)
    return()
  endif()

  set(BUILD_TESTING OFF)
  if(arg_HEADERS)
    FetchContent_Declare(${name} ${source} SOURCE_SUBDIR headers-only)
    FetchContent_MakeAvailable(${name})
    string(TOLOWER ${name} lower)
    add_library(${arg_TARGET} INTERFACE IMPORTED GLOBAL)
    target_include_directories(${arg_TARGET} INTERFACE "${${lower}_SOURCE_DIR}/${arg_HEADERS}")
  else()
    FetchContent_Declare(${name} ${source} SYSTEM)
    FetchContent_MakeAvailable(${name})
  endif()
endfunction()

headgate_dependency(
  xsimd TARGET headgate::xsimd DEBIAN libxsimd-dev HEADERS include FOLDER xsimd
  URL https://github.com/xtensor-stack/xsimd/archive/14.1.0.tar.gz
  HASH SHA256=8da77b66214e73565f6111ba494322c853552b7b40cff69779b42e2100eed16f)

if(HEADGATE_BUILD_TESTS OR HEADGATE_BUILD_BENCHMARKS)
  headgate_dependency(
    Eigen3 TARGET Eigen3::Eigen VERSION 3.4 DEBIAN libeigen3-dev HEADERS . FOLDER eigen3/Eigen
    URL https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.bz2
    HASH SHA256=b4c198460eba6f28d34894e3a5710998818515104d6e74e5cc331ce31e46e626)
else()
  find_package(Eigen3 QUIET GLOBAL) # only kernels/eigen.hpp wants it
endif()

if(HEADGATE_MODELS OR HEADGATE_BUILD_TESTS)
  headgate_dependency(
    nlohmann_json TARGET nlohmann_json::nlohmann_json VERSION 3.11 DEBIAN nlohmann-json3-dev HEADERS include FOLDER nlohmann
    URL https://github.com/nlohmann/json/releases/download/v3.11.3/json.tar.xz
    HASH SHA256=d6c65aca6b1ed68e7a182f4757257b107ae403032760ed6ef121c9d55e81757d)
endif()
if(HEADGATE_MODELS)
  headgate_dependency(
    fmt TARGET fmt::fmt VERSION 9 DEBIAN libfmt-dev FOLDER fmt DEFINES FMT_HEADER_ONLY
    URL https://github.com/fmtlib/fmt/archive/11.0.2.tar.gz
    HASH SHA256=6cb1e6d37bdcb756dbbe59be438790db409cdb4868c66e888d5df9f13f7c027f)
  headgate_system_library(pcre2 pcre2.h pcre2-8)
  if(NOT TARGET headgate::pcre2)
    list(APPEND headgate_missing_packages libpcre2-dev)
  endif()
  headgate_system_library(utf8proc utf8proc.h utf8proc)
  if(NOT TARGET headgate::utf8proc)
    list(APPEND headgate_missing_packages libutf8proc-dev)
  endif()
  set(THREADS_PREFER_PTHREAD_FLAG ON)
  find_package(Threads REQUIRED GLOBAL)
endif()

if(HEADGATE_BUILD_EXAMPLES AND HEADGATE_MODELS)
  headgate_dependency(
    CLI11 TARGET CLI11::CLI11 VERSION 2.1 DEBIAN libcli11-dev HEADERS include FOLDER CLI
    URL https://github.com/CLIUtils/CLI11/archive/v2.4.2.tar.gz
    HASH SHA256=f2d893a65c3b1324c50d4e682c0cdc021dd0477ae2c048544f39eed6654b699a)
endif()
if(HEADGATE_BUILD_TESTS)
  set(catch_folder "")
  if(EXISTS /usr/include/catch2/catch.hpp) # of version 2 one header is all
    set(catch_folder FOLDER catch2)
  endif()
  headgate_dependency(
    Catch2 TARGET Catch2::Catch2WithMain VERSION 2.13 DEBIAN catch2 ${catch_folder}
    URL https://github.com/catchorg/Catch2/archive/v3.7.1.tar.gz
    HASH SHA256=c991b247a1a0d7bb9c39aa35faf0fe9e19764213f28ffba3109388e62ee0269c)
endif()
if(HEADGATE_BUILD_BENCHMARKS)
  headgate_dependency(
    benchmark TARGET benchmark::benchmark DEBIAN libbenchmark-dev
    URL https://github.com/google/benchmark/archive/refs/tags/v1.8.2.tar.gz
    HASH SHA256=2aab2980d0376137f969d92848fbb68216abb07633034534fc8c65cc4e7a0e93)
endif()

if(headgate_missing_packages)
  list(JOIN headgate_missing_packages " " headgate_missing_packages)
  message(FATAL_ERROR "headgate lacks packages that it needs: apt-get install ${headgate_missing_packages}")
endif()
