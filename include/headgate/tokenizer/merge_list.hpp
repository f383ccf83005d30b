// MergeList: the merges of a tokenizer.json as they are read, by the texts of their parts: a file may name tokens
// before it gives them ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "headgate/core/error.hpp"
#include "headgate/core/types.hpp"
#include "headgate/tokenizer/bpe.hpp"
#include "headgate/tokenizer/vocabulary.hpp"

namespace headgate::inline HEADGATE_ABI {

class MergeList {
 public:
  // A merge begins, at this byte of the file; its parts follow, of which it must get two.
  void start(std::int64_t offset) {
    merges_.push_back({texts_.size(), 0, 0, offset});
    parts_ = 0;
  }
  void add_part(std::string_view part) {
    ++parts_;
    (parts_ == 1 ? merges_.back().left_size : merges_.back().right_size) += part.size();
    texts_ += part;
  }

  // Merges so far, the present one included.
  std::size_t size() const noexcept { return merges_.size(); }
  // Parts of the present merge.
  int parts() const noexcept { return parts_; }

  // file: for errors.
  std::vector<Bpe::Merge> resolve(const Vocabulary& vocabulary, const std::string& file) const {
    std::vector<Bpe::Merge> resolved;
    resolved.reserve(merges_.size());
    for (const Texts& merge : merges_) {
      const auto id_of = [&](std::size_t begin, std::size_t size, const char* role) {
        const std::string_view token = std::string_view(texts_).substr(begin, size);
        const std::int32_t id = vocabulary.find(token);
        if (id < 0) {
          throw Error(ErrorCode::bad_file, {file, "model.merges", merge.offset,
                                            "merge " + std::to_string(resolved.size()) + ": its " + role + " '" +
                                                escaped(token) + "' is not in the vocabulary"});
        }
        return id;
      };
      resolved.push_back({id_of(merge.begin, merge.left_size, "left part"),
                          id_of(merge.begin + merge.left_size, merge.right_size, "right part"),
                          id_of(merge.begin, merge.left_size + merge.right_size, "result")});
    }
    return resolved;
  }

 private:
  struct Texts {
    std::size_t begin, left_size, right_size;  // in texts_
    std::int64_t offset;
  };
  std::string texts_;
  std::vector<Texts> merges_;
  int parts_ = 0;
};

}  // namespace headgate::inline HEADGATE_ABI
