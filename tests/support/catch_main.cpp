// main, where only Catch2's header is to be had for the machine that the tests run on.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
