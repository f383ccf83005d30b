// Conversation: what was said, the tokens that stand for it, and those of them that a session holds already. A new
// question costs its own tokens alone, as long as the format leaves what came before as it was.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "headgate/models/session.hpp"
#include "headgate/tokenizer/chat_format.hpp"

class Conversation {
 public:
  Conversation(const headgate::Tokenizer& tokenizer, headgate::ChatFormat format)
      : tokenizer_(tokenizer), format_(std::move(format)), has_space_(writes_space(format_)) {}

  const headgate::ChatFormat& format() const noexcept { return format_; }
  std::size_t size() const noexcept { return messages_.size(); }

  // Begins anew, with this system message; empty: with the format's own, if it has one.
  void reset(const std::string& system) {
    messages_.clear();
    if (!system.empty()) messages_.push_back({{"system", system}, {}});
  }
  void ask(std::string question) { messages_.push_back({{"user", std::move(question)}, {}}); }
  // tokens: as the model chose them, without the one that ended the answer.
  void answer(std::vector<std::int32_t> tokens) {
    const std::string written = tokenizer_.decode(tokens, {.skip_special = false});
    std::string said(format_.answer(written));
    if (has_space_ && said.starts_with(' ')) said.erase(0, 1);
    messages_.push_back({{"assistant", std::move(said)}, {written, std::move(tokens)}});
  }
  // Takes back the last message if it is of this role.
  bool take_back(std::string_view role) {
    if (messages_.empty() || messages_.back().message.role != role) return false;
    messages_.pop_back();
    return true;
  }

  // The tokens of the conversation up to where the next answer begins. Answers are the tokens that the model chose,
  // which need not be those that their text would be cut into.
  std::vector<std::int32_t> tokens() const {
    std::vector<headgate::ChatMessage> messages;
    for (const Said& said : messages_) messages.push_back(said.message);
    const std::vector<headgate::ChatSegment> segments = format_.segments(messages);
    std::vector<std::int32_t> ids;
    std::size_t first = 0;  // of the segments that are no tokens yet
    for (std::size_t i = 0; i + 1 < segments.size(); ++i) {
      const auto message = segments[i].message;
      if (message < 0 || !segments[i + 1].is_control) continue;
      const Written& written = messages_.at(headgate::as_size(message)).written;
      if (written.tokens.empty() || written.text != segments[i].text) continue;
      append(std::span(segments).subspan(first, i - first), ids);
      ids.insert(ids.end(), written.tokens.begin(), written.tokens.end());
      first = i + 1;
    }
    append(std::span(segments).subspan(first), ids);
    return ids;
  }

  // Leaves the session at the end of these tokens, with the logits of the last. computed: tokens that went through the
  // model. Status as Session::forward; where it is not ok the session may hold fewer tokens.
  headgate::Status read(const std::vector<std::int32_t>& ids, headgate::Session& session, headgate::Context& ctx,
                        std::int64_t& computed) {
    const auto differ = std::mismatch(held_.begin(), held_.end(), ids.begin(), ids.end());
    const auto same = static_cast<headgate::index_t>(differ.first - held_.begin());
    const auto wanted = std::min(same, static_cast<headgate::index_t>(ids.size()) - 1);
    const headgate::index_t kept = session.nearest(std::min(wanted, session.position()));
    headgate::throw_if_error(session.truncate(kept));
    held_.resize(headgate::as_size(kept));
    computed = static_cast<std::int64_t>(ids.size()) - kept;
    headgate::Status status = session.forward(std::span(ids).subspan(headgate::as_size(kept)), ctx);
    if (status.ok()) held_ = ids;
    return status;
  }
  // These went through the session, too.
  void hold(std::span<const std::int32_t> tokens) { held_.insert(held_.end(), tokens.begin(), tokens.end()); }

 private:
  struct Written {
    std::string text;
    std::vector<std::int32_t> tokens;
  };
  struct Said {
    headgate::ChatMessage message;
    Written written;
  };

  void append(std::span<const headgate::ChatSegment> segments, std::vector<std::int32_t>& ids) const {
    if (segments.empty()) return;
    const std::vector<std::int32_t> more = headgate::encode_chat(tokenizer_, segments);
    ids.insert(ids.end(), more.begin(), more.end());
  }
  // Whether earlier answers stand after a space that models write themselves.
  static bool writes_space(const headgate::ChatFormat& format) {
    const headgate::ChatMessage turn[] = {{"user", "a"}, {"assistant", "X"}};
    const std::string before = headgate::chat_text(format.segments(std::span(turn).first(1)));
    const std::string after = headgate::chat_text(format.segments(turn, false));
    return after.starts_with(before) && after.substr(before.size()).starts_with(" X");
  }

  const headgate::Tokenizer& tokenizer_;
  headgate::ChatFormat format_;
  bool has_space_;
  std::vector<Said> messages_;
  std::vector<std::int32_t> held_;  // by the session
};
