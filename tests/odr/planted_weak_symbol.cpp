// What an object of kernels must not hold: an inline function that the compiler left out of line, under a plain name.
namespace forgotten {
__attribute__((noinline)) inline int twice(int i) { return 2 * i; }
}  // namespace forgotten

int call(int i);
int call(int i) { return forgotten::twice(i); }
