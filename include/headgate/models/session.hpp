// Session: one text in progress on a shared model. Owns the KV cache, the routers' memory, the logits and the hooks;
// belongs to one thread at a time, except for cancel(). After an error it is what it was before the call.
//
//   Session session(model, {.context_size = 1024});
//   throw_if_error(session.forward(prompt, context));
//   session.logits() -> a token -> session.forward({&token, 1}, context) ...
#pragma once

#include <new>
#include <string>

#include "headgate/models/decoder.hpp"
#include "headgate/models/scratch_count.hpp"
#include "headgate/models/session_options.hpp"

namespace headgate::inline HEADGATE_ABI {

class Session {
 public:
  // limit: no memory; usage: an option out of range.
  static Expected<Session> create(std::shared_ptr<const Model> model, const SessionOptions& options = {}) {
    try {
      return Session(std::move(model), options);
    } catch (const Error& error) {
      return error;
    }
  }
  // Throws the same error.
  explicit Session(std::shared_ptr<const Model> model, const SessionOptions& options = {})
      : model_(std::move(model)), options_(checked(options, model_)) {
    try {
      state_ = model_->make_state(options_.context_size);
    } catch (const std::bad_alloc&) {
      throw Error(ErrorCode::limit,
                  {"", "context_size", -1,
                   "no memory for the keys and values of " + std::to_string(options_.context_size) + " positions"});
    }
  }

  // Appends the tokens, any number of them, and leaves the logits of the last. The bits do not depend on how a text is
  // cut into calls and passes, nor on the threads of the context.
  //   limit        the tokens do not fit the context       usage          a token id outside of the vocabulary
  //   numeric      NaN or infinity, with layer and token   interrupted    cancel() was called
  // Status.token is the position in the text. The layer of a bad logit is the number of layers.
  // rules: edits of this call's routing (models/routing_rule.hpp); what cannot be obeyed is an error, with the layer.
  Status forward(std::span<const std::int32_t> tokens, Context& ctx, std::span<const RoutingRule> rules = {}) {
    if (Status status = check(tokens); !status.ok() || tokens.empty()) return status;
    if (Status status = check(rules); !status.ok()) return status;
    // What a failed forward leaves behind.
    for (AnyState& state : state_.caches) state.truncate(position_);
    const auto count = static_cast<index_t>(tokens.size());
    const index_t vocab_size = model_->vocab_size();
    next_logits_.resize(as_size(options_.all_logits ? std::int64_t{count} * vocab_size : vocab_size));
    index_t rows = 0;
    for (index_t first = 0; first < count; first += rows) {
      // The rows of a pass are edited alike.
      rows = std::min({options_.rows_per_pass, count - first,
                       RoutingRule::next_change(rules, position_ + first) - (position_ + first)});
      Rows out;
      if (options_.all_logits) {
        out = {next_logits_.data() + std::int64_t{first} * vocab_size, rows, vocab_size};
      } else if (first + rows == count) {
        out = {next_logits_.data(), 1, vocab_size};
      }
      Status status = pass(tokens.subspan(as_size(first), as_size(rows)), position_ + first, out, rules, ctx);
      if (!status.ok()) return status;
    }
    position_ += count;
    logits_.swap(next_logits_);
    return Status::success();
  }

  // (vocab_size) of the last token; empty where there is none.
  std::span<const float> logits() const noexcept {
    const std::span<const float> all(logits_);
    return all.empty() ? all : all.last(as_size(model_->vocab_size()));
  }
  // (tokens of the last forward, vocab_size) with options.all_logits, else the last row alone.
  ConstRows all_logits() const noexcept {
    const index_t vocab_size = model_->vocab_size();
    return {logits_.data(), static_cast<index_t>(logits_.size() / as_size(vocab_size)), vocab_size};
  }

  index_t position() const noexcept { return position_; }  // tokens held
  index_t context_size() const noexcept { return options_.context_size; }
  const SessionOptions& options() const noexcept { return options_; }
  const Model& model() const noexcept { return *model_; }

  // Forgets the tokens from `positions` on, and the logits if that is any. usage: more than are held.
  Status truncate(index_t positions) {
    if (positions < 0 || positions > position_) return Status::mismatch("positions to keep", positions, position_);
    if (positions < position_) logits_.clear();
    position_ = positions;
    return Status::success();
  }

  // A second session that goes on from here, with its own memory and without the hooks. Throws std::bad_alloc.
  Session fork() const {
    Session copy(model_, options_, position_);
    copy.logits_ = logits_;
    copy.state_.context_size = state_.context_size;
    for (const DecoderBlock::Cache& cache : state_.caches) copy.state_.caches.push_back(cache.clone());
    return copy;
  }

  // Makes the forward in progress, or else the next one, return interrupted. From any thread and from signal handlers.
  void cancel() noexcept { interrupted_.flag.store(true, std::memory_order_relaxed); }

  // Empty: they cost nothing.
  RouteHook on_route;
  HiddenHook on_hidden;

 private:
  // An atomic that moves with the session, which nobody else uses then.
  struct Interrupted {
    Interrupted() = default;
    Interrupted(Interrupted&& other) noexcept : flag(other.flag.load()) {}
    Interrupted& operator=(Interrupted&& other) noexcept {
      flag.store(other.flag.load());
      return *this;
    }
    std::atomic<bool> flag = false;
    static_assert(std::atomic<bool>::is_always_lock_free, "signal handlers may only use lock-free atomics");
  };

  Session(std::shared_ptr<const Model> model, const SessionOptions& options, index_t position)
      : model_(std::move(model)), options_(options), position_(position) {}

  static SessionOptions checked(SessionOptions options, const std::shared_ptr<const Model>& model) {
    constexpr index_t max_rows = 1 << 16;
    if (!model) throw Error(ErrorCode::usage, {"", "model", -1, "expected a model, found none"});
    const auto check = [](const char* name, index_t value, index_t low, std::int64_t high) {
      if (value >= low && value <= high) return;
      throw Error(ErrorCode::usage, {"", name, -1,
                                     "expected a number from " + std::to_string(low) + " to " + std::to_string(high) +
                                         ", found " + std::to_string(value)});
    };
    check("context_size", options.context_size, 0, max_index - panel_rows);
    check("rows_per_pass", options.rows_per_pass, 1, max_rows);
    if (options.context_size == 0) options.context_size = model->config().max_position_embeddings;
    options.rows_per_pass = std::min(options.rows_per_pass, options.context_size);
    return options;
  }

  Status check(std::span<const std::int32_t> tokens) const noexcept {
    const auto total = static_cast<std::int64_t>(tokens.size()) + position_;
    if (total > context_size())
      return {ErrorCode::limit, "tokens against the size of the context", total, context_size()};
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] >= 0 && tokens[i] < model_->vocab_size()) continue;
      Status status = Status::mismatch("token id", tokens[i], model_->vocab_size() - 1);
      status.token = position_ + static_cast<index_t>(i);
      return status;
    }
    return Status::success();
  }

  Status check(std::span<const RoutingRule> rules) const noexcept {
    for (const RoutingRule& rule : rules) {
      if (rule.layer != RoutingRule::every_layer) {
        if (rule.layer < 0 || rule.layer >= model_->num_layers()) {
          return Status::mismatch("layer of a routing rule", rule.layer, model_->num_layers() - 1);
        }
        if (model_->block(rule.layer).routed() == nullptr) {
          return {ErrorCode::usage, "layer of a routing rule has no router", 0, 0, rule.layer};
        }
      }
      if (rule.first_position < 0) {
        return Status::mismatch("first position of a routing rule, at least", rule.first_position, 0);
      }
      if (rule.end_position < rule.first_position) {
        return Status::mismatch("end of a routing rule, at least its first position", rule.end_position,
                                rule.first_position);
      }
    }
    return Status::success();
  }

  // The tokens of one pass, and the logits of the last logits.rows of them.
  Status pass(std::span<const std::int32_t> tokens, index_t first_position, Rows logits,
              std::span<const RoutingRule> rules, Context& ctx) {
    const auto rows = static_cast<index_t>(tokens.size());
    const ScratchCount scratch{model_->config(), rows, std::int64_t{first_position} + rows, ctx.executor.size()};
    ctx.workspace.reserve(scratch.bytes(logits.rows));
    const Workspace::Mark mark(ctx.workspace);
    const Rows x = ctx.workspace.take_rows(rows, model_->hidden_size());
    Status status =
        model_->forward({tokens, first_position, on_route, interrupted_.flag, &on_hidden, rules}, state_, x, ctx);
    index_t first_row = 0;
    if (status.ok() && logits.rows > 0) {
      first_row = rows - logits.rows;
      status = model_->logits(x.middle_rows(first_row, logits.rows), logits, ctx);
    }
    if (status.token >= 0) status.token += first_position + first_row;
    if (status.code == ErrorCode::interrupted) interrupted_.flag.store(false, std::memory_order_relaxed);
    return status;
  }

  std::shared_ptr<const Model> model_;
  SessionOptions options_;
  Model::State state_;
  index_t position_ = 0;
  std::vector<float> logits_;       // (1 or tokens of the last forward, vocab_size)
  std::vector<float> next_logits_;  // of the forward in progress, so that an error leaves the others
  Interrupted interrupted_;
};

}  // namespace headgate::inline HEADGATE_ABI
