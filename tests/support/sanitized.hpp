// HEADGATE_SANITIZED: whether a sanitizer is in this build, which takes memory and time of its own.
#pragma once

#if defined(__has_feature)
#define HEADGATE_CLANG_SANITIZER (__has_feature(address_sanitizer) || __has_feature(thread_sanitizer))
#else
#define HEADGATE_CLANG_SANITIZER 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || HEADGATE_CLANG_SANITIZER
#define HEADGATE_SANITIZED 1
#else
#define HEADGATE_SANITIZED 0
#endif
