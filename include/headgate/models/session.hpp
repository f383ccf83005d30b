// Session: one text in progress on a shared model. Owns what the layers remember of it, the logits and the hooks;
// belongs to one thread at a time, except for cancel(). After an error it is what it was before the call.
//
//   Session session(model, {.context_size = 1024});
//   throw_if_error(session.forward(prompt, context));
//   session.logits() -> a token -> session.forward({&token, 1}, context) ...
//
// Several texts of one model go on together, their weights read once for all: Session::forward_together of a list of
// turns, each with the bits that it has alone.
#pragma once

#include <cmath>
#include <new>
#include <string>

#include "headgate/models/decoder.hpp"
#include "headgate/models/scratch_count.hpp"
#include "headgate/models/session_options.hpp"

namespace headgate::inline HEADGATE_ABI {

class Session;

// What a text goes on with in a pass of several.
struct SessionTurn {
  Session* session;
  std::span<const std::int32_t> tokens;
};

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
      state_ = model_->make_state(state_size(), options_.layer_schedule);
    } catch (const std::bad_alloc&) {
      throw Error(ErrorCode::limit,
                  {"", "context_size", -1,
                   "no memory for the states of " + std::to_string(options_.context_size) + " positions"});
    }
  }

  // Appends the tokens, any number of them, and leaves the logits of the last. The bits do not depend on how a text is
  // cut into calls and passes, nor on the threads of the context.
  //   limit        the tokens do not fit the context       usage          a token id outside of the vocabulary
  //   numeric      NaN or infinity, with layer and token   interrupted    cancel() was called
  // Status.token is the position in the text. The layer of a bad logit is the number of layers.
  // rules: edits of this call's routing (models/routing_rule.hpp); what cannot be obeyed is an error, with the layer.
  Status forward(std::span<const std::int32_t> tokens, Context& ctx, std::span<const RoutingRule> rules = {}) {
    if (Status status = check(rules); !status.ok()) return status;
    const SessionTurn turn{this, tokens};
    return run({&turn, 1}, rules, ctx);
  }
  // The same for several texts of one model at once; turns without tokens do nothing. usage: a session twice, or of
  // another model. Of several turns Status.token counts the tokens of all, one after the other; on an error all
  // sessions are what they were. A pass has no more rows than the first session with tokens allows.
  static Status forward_together(std::span<const SessionTurn> turns, Context& ctx) { return run(turns, {}, ctx); }

  // Forwards the first tokens of the text while the policy says, from the rows that enter each layer, how often it
  // runs: for them and for all that follow, as if options().layer_schedule had said so. Until the end there is memory
  // for two runs of every layer. usage: the text has begun; limit: more tokens than a pass takes (rows_per_pass), for
  // the policy reads all of them.
  Status choose_layers(std::span<const std::int32_t> tokens, const LayerPolicy& policy, Context& ctx) {
    if (position_ != 0) return {ErrorCode::usage, "the layers of a text are chosen by its first tokens"};
    if (!policy) return {ErrorCode::usage, "no policy that chooses layers"};
    const auto count = static_cast<std::int64_t>(tokens.size());
    if (count == 0) return {ErrorCode::usage, "no tokens to choose layers by"};
    if (count > options_.rows_per_pass) {
      return {ErrorCode::limit, "tokens to choose layers by, against rows of a pass", count, options_.rows_per_pass};
    }
    const std::vector<std::uint8_t> room(as_size(model_->num_layers()), LayerSchedule::most_runs);
    Model::State other = model_->make_state(state_size(), LayerSchedule::create(room).value());
    std::swap(other, state_);
    // Back to what it was, unless all went well.
    struct Restore {
      Model::State* state;
      Model::State* other;
      ~Restore() {
        if (state != nullptr) std::swap(*state, *other);
      }
    } restore{&state_, &other};
    const SessionTurn turn{this, tokens};
    Status status = run({&turn, 1}, {}, ctx, &policy);
    if (!status.ok()) return status;
    restore.state = nullptr;
    options_.layer_schedule = state_.schedule;
    return status;
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

  // The largest number of positions, at most so many, that truncate can go back to. Layers that hold all positions go
  // back to any; sliding windows and convolutions as far as options().spare_positions reach; recurrent ones to a
  // snapshot.
  index_t nearest(index_t positions) const noexcept {
    positions = std::clamp(positions, 0, position_);
    for (bool moved = true; moved;) {
      moved = false;
      for (const AnyState& state : state_.mixers) {
        const index_t found = state.nearest(std::min(positions, state.position()));
        moved = moved || found < positions;
        positions = std::min(positions, found);
      }
    }
    return positions;
  }
  // Forgets the tokens from `positions` on, and the logits if that is any. usage: more than are held; limit: a layer
  // cannot go back there, but to status.expected positions (nearest).
  Status truncate(index_t positions) {
    if (positions < 0 || positions > position_) return Status::mismatch("positions to keep", positions, position_);
    if (const index_t found = nearest(positions); found != positions) {
      return {ErrorCode::limit, "positions to keep, against the nearest that every layer can go back to", positions,
              found};
    }
    if (positions < position_) logits_.clear();
    go_back(positions);
    return Status::success();
  }
  // Makes this position one that truncate can go back to, also where a layer is recurrent. Throws std::bad_alloc.
  void snapshot() {
    for (AnyState& state : state_.mixers) state.snapshot();
  }

  // A second session that goes on from here, with its own memory and without the hooks. Throws std::bad_alloc.
  Session fork() const {
    Session copy(model_, options_, position_);
    copy.logits_ = logits_;
    copy.state_.context_size = state_.context_size;
    copy.state_.schedule = state_.schedule;
    for (const AnyState& state : state_.mixers) copy.state_.mixers.push_back(state.clone());
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
    if (const index_t layers = options.layer_schedule.layers(); layers != 0 && layers != model->num_layers()) {
      throw Error(ErrorCode::usage,
                  {"", "layer_schedule", -1,
                   "expected " + std::to_string(model->num_layers()) + " layers, found " + std::to_string(layers)});
    }
    for (index_t layer = 0; layer < model->num_layers(); ++layer) {
      for (const AnyMixer* const mixer : model->block(layer).mixers()) {
        if (mixer->holds(options.cache_type)) continue;
        throw Error(ErrorCode::usage, {"", "cache_type", -1,
                                       "layer " + std::to_string(layer) + " cannot hold its text in " +
                                           std::string(name_of(options.cache_type))});
      }
    }
    check_bias(options.sequence_bias, *model);
    return options;
  }
  static void check_bias(std::span<const float> bias, const Model& model) {
    const auto refuse = [](const std::string& what) { throw Error(ErrorCode::usage, {"", "sequence_bias", -1, what}); };
    bool is_read = bias.empty();
    for (index_t layer = 0; layer < model.num_layers() && !bias.empty(); ++layer) {
      const DecoderBlock::Routed* const routed = model.block(layer).routed();
      if (routed == nullptr || !routed->router().reads<SequenceBias>()) continue;
      is_read = true;
      const index_t experts = routed->router().num_experts();
      if (std::ssize(bias) == experts) continue;
      refuse("expected " + std::to_string(experts) + " numbers for layer " + std::to_string(layer) + ", found " +
             std::to_string(bias.size()));
    }
    if (!is_read) refuse("no router of the model reads one");
    for (const float value : bias) {
      if (!std::isfinite(value)) refuse("a number is not finite");
    }
  }

  StateSize state_size() const noexcept {
    return {options_.context_size, options_.rows_per_pass, options_.spare_positions, options_.cache_type};
  }

  // Status.token is an index of the tokens.
  Status check(std::span<const std::int32_t> tokens) const noexcept {
    const auto total = static_cast<std::int64_t>(tokens.size()) + position_;
    if (total > context_size())
      return {ErrorCode::limit, "tokens against the size of the context", total, context_size()};
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] >= 0 && tokens[i] < model_->vocab_size()) continue;
      Status status = Status::mismatch("token id", tokens[i], model_->vocab_size() - 1);
      status.token = static_cast<index_t>(i);
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

  // A text of a call, and how far the call has come with it.
  struct Text {
    Session* session;
    std::span<const std::int32_t> tokens;
    std::int64_t first_token;  // as a Status counts tokens
    index_t done;              // tokens
    index_t rows;              // of the pass in progress
    index_t logits_rows;       // the last of these, of which logits are wanted

    index_t rest() const noexcept { return static_cast<index_t>(tokens.size()) - done; }
    index_t skipped() const noexcept { return rows - logits_rows; }
    index_t position() const noexcept { return session->position_ + done; }
  };
  // Puts the sessions of a call back where they were, unless it came to its end.
  class Rollback {
   public:
    // texts: the first pass is cut. States that cannot go back themselves are copied.
    explicit Rollback(std::span<const Text> texts) : texts_(texts) {
      for (const Text& text : texts) {
        for (AnyState& state : text.session->state_.mixers) {
          if (!state.keeps_present(text.rest(), text.rows == text.rest())) copies_.push_back({&state, state.clone()});
        }
      }
    }
    Rollback(const Rollback&) = delete;
    Rollback& operator=(const Rollback&) = delete;
    ~Rollback() {
      if (is_done_) return;
      for (Copy& copy : copies_) *copy.place = std::move(copy.state);
      for (const Text& text : texts_) text.session->go_back(text.session->position_);
    }
    void dismiss() noexcept { is_done_ = true; }

   private:
    struct Copy {
      AnyState* place;
      AnyState state;
    };
    std::span<const Text> texts_;
    std::vector<Copy> copies_;
    bool is_done_ = false;
  };

  static Status run(std::span<const SessionTurn> turns, std::span<const RoutingRule> rules, Context& ctx,
                    const LayerPolicy* policy = nullptr) {
    std::int64_t count = 0;
    if (Status status = check(turns, count); !status.ok() || count == 0) return status;
    const Model& model = *turns.front().session->model_;
    ctx.workspace.reserve(scratch_bytes(turns, count, ctx));
    const Workspace::Mark mark(ctx.workspace);
    const std::span<Text> texts = ctx.workspace.take<Text>(count);
    std::size_t n = 0;
    std::int64_t first_token = turns.size() > 1 ? 0 : turns.front().session->position_;
    for (const SessionTurn& turn : turns) {
      const auto tokens = static_cast<std::int64_t>(turn.tokens.size());
      if (tokens == 0) continue;
      Session& s = *turn.session;
      s.next_logits_.resize(as_size((s.options_.all_logits ? tokens : 1) * model.vocab_size()));
      texts[n++] = {&s, turn.tokens, first_token, 0, 0, 0};
      first_token += tokens;
    }
    cut_pass(texts, rules);
    Rollback rollback(texts);
    while (cut_pass(texts, rules) > 0) {
      Status status = is_interrupted(texts) ? Status{ErrorCode::interrupted, "interrupted"}
                                            : pass(model, texts, rules, policy, ctx);
      if (status.ok()) continue;
      if (status.code == ErrorCode::interrupted) {
        for (const Text& text : texts) text.session->interrupted_.flag.store(false, std::memory_order_relaxed);
      }
      return status;
    }
    rollback.dismiss();
    for (const Text& text : texts) {
      text.session->position_ += text.done;
      text.session->logits_.swap(text.session->next_logits_);
    }
    return Status::success();
  }
  // Of any text, whether or not it has rows in the next pass.
  static bool is_interrupted(std::span<const Text> texts) noexcept {
    return std::any_of(texts.begin(), texts.end(), [](const Text& text) {
      return text.session->interrupted_.flag.load(std::memory_order_relaxed);
    });
  }
  // count: turns with tokens.
  static Status check(std::span<const SessionTurn> turns, std::int64_t& count) noexcept {
    const bool is_alone = turns.size() == 1 && turns.front().session != nullptr;
    std::int64_t first_token = is_alone ? turns.front().session->position_ : 0;
    for (std::size_t i = 0; i < turns.size(); ++i) {
      const Session* const session = turns[i].session;
      if (session == nullptr) return {ErrorCode::usage, "a turn without a session"};
      if (session->model_ != turns.front().session->model_) return {ErrorCode::usage, "turns of different models"};
      if (!(session->state_.schedule == turns.front().session->state_.schedule)) {
        return {ErrorCode::usage, "turns of sessions whose layers run differently often"};
      }
      for (std::size_t j = 0; j < i; ++j) {
        if (turns[j].session == session) return {ErrorCode::usage, "a session with two turns"};
      }
      if (Status status = session->check(turns[i].tokens); !status.ok()) {
        if (status.token >= 0) status.token += static_cast<index_t>(first_token);
        return status;
      }
      first_token += static_cast<std::int64_t>(turns[i].tokens.size());
      count += turns[i].tokens.empty() ? 0 : 1;
    }
    return Status::success();
  }

  // How many rows of which text the next pass has; their number. Rows of a pass are edited alike.
  static index_t cut_pass(std::span<Text> texts, std::span<const RoutingRule> rules) noexcept {
    index_t room = texts.front().session->options_.rows_per_pass;
    index_t rows = 0;
    for (Text& text : texts) {
      const SessionOptions& options = text.session->options_;
      text.rows = std::min({text.rest(), room, options.rows_per_pass,
                            RoutingRule::next_change(rules, text.position()) - text.position()});
      text.logits_rows = options.all_logits ? text.rows : text.rows > 0 && text.rows == text.rest() ? 1 : 0;
      room -= text.rows;
      rows += text.rows;
    }
    return rows;
  }
  // Of the largest pass of a call.
  static std::size_t scratch_bytes(std::span<const SessionTurn> turns, std::int64_t count, const Context& ctx) {
    std::int64_t room = 0;
    PassSize pass{0, count, 0, ctx.executor.size()};
    std::int64_t logits_rows = 0;
    for (const SessionTurn& turn : turns) {
      const auto tokens = static_cast<std::int64_t>(turn.tokens.size());
      if (tokens == 0) continue;
      if (pass.rows == 0) room = turn.session->options_.rows_per_pass;
      pass.rows += tokens;
      pass.positions = std::max(pass.positions, turn.session->position_ + tokens);
      logits_rows += turn.session->options_.all_logits ? tokens : 1;
    }
    pass.rows = std::min(pass.rows, room);
    const Model& model = *turns.front().session->model_;
    static_assert(sizeof(Text) + sizeof(Model::Sequence) + sizeof(SequenceRows) <= ScratchCount::text_bytes);
    return model.scratch().bytes(pass, std::min(logits_rows, pass.rows), model.vocab_size());
  }

  // One pass of the rows that cut_pass chose. policy: null, or of a call of one pass.
  static Status pass(const Model& model, std::span<Text> texts, std::span<const RoutingRule> rules,
                     const LayerPolicy* policy, Context& ctx) {
    const Workspace::Mark mark(ctx.workspace);
    Model::Sequence* const memory = ctx.workspace.take<Model::Sequence>(static_cast<std::int64_t>(texts.size())).data();
    std::size_t count = 0;
    index_t rows = 0;
    index_t logits_rows = 0;
    for (const Text& text : texts) {
      if (text.rows == 0) continue;
      Session& s = *text.session;
      std::construct_at(memory + count++, Model::Sequence{{text.rows, text.position()},
                                                          s.state_,
                                                          s.interrupted_.flag,
                                                          &s.on_route,
                                                          &s.on_hidden,
                                                          s.options_.sequence_bias});
      rows += text.rows;
      logits_rows += text.logits_rows;
    }
    const std::span<std::int32_t> tokens = ctx.workspace.take<std::int32_t>(rows);
    std::int32_t* token = tokens.data();
    for (const Text& text : texts) {
      token = std::copy_n(text.tokens.data() + text.done, text.rows, token);
    }
    const Rows x = ctx.workspace.take_rows(rows, model.hidden_size());
    const Model::Pass all{tokens, {memory, count}, rules};
    Status status = policy != nullptr ? model.forward(all, *policy, x, ctx) : model.forward(all, x, ctx);
    if (!status.ok()) return of_text(status, texts, /*is_of_logits=*/false);
    if (logits_rows > 0) status = compute_logits(model, texts, x, count, logits_rows, ctx);
    for (Text& text : texts) text.done += text.rows;
    return status;
  }
  // The wanted rows of all texts are one product with the head.
  static Status compute_logits(const Model& model, std::span<const Text> texts, Rows x, std::size_t sequences,
                               index_t count, Context& ctx) {
    const index_t vocab_size = model.vocab_size();
    const auto place_of = [&](const Text& text) {
      const std::int64_t first = text.session->options_.all_logits ? text.done : 0;
      return text.session->next_logits_.data() + first * vocab_size;
    };
    if (sequences == 1) {
      for (const Text& text : texts) {
        if (text.logits_rows == 0) continue;
        const Rows out(place_of(text), count, vocab_size);
        return of_text(model.logits(x.middle_rows(text.skipped(), count), out, ctx), texts, /*is_of_logits=*/true);
      }
    }
    const Workspace::Mark mark(ctx.workspace);
    const Rows gathered = ctx.workspace.take_rows(count, x.cols);
    const Rows logits = ctx.workspace.take_rows(count, vocab_size);
    index_t row = 0;
    index_t next = 0;
    for (const Text& text : texts) {
      for (index_t r = text.skipped(); r < text.rows; ++r) {
        std::copy_n(x.row_data(row + r), x.cols, gathered.row_data(next++));
      }
      row += text.rows;
    }
    Status status = model.logits(gathered, logits, ctx);
    if (!status.ok()) return of_text(status, texts, /*is_of_logits=*/true);
    next = 0;
    for (const Text& text : texts) {
      std::copy_n(logits.row_data(next), std::int64_t{text.logits_rows} * vocab_size, place_of(text));
      next += text.logits_rows;
    }
    return status;
  }

  // Names the row of a pass as a position of the only text, or else as a token of all turns. is_of_logits: only rows
  // with logits count.
  static Status of_text(Status status, std::span<const Text> texts, bool is_of_logits) noexcept {
    index_t row = status.token;
    for (const Text& text : texts) {
      const index_t rows = is_of_logits ? text.logits_rows : text.rows;
      if (row >= 0 && row < rows) {
        status.token = static_cast<index_t>(text.first_token) + text.done + row + (is_of_logits ? text.skipped() : 0);
        return status;
      }
      row -= rows;
    }
    return status;
  }

  // Precondition: every state is there, or can go back there.
  void go_back(index_t positions) noexcept {
    for (AnyState& state : state_.mixers) state.truncate(std::min(positions, state.position()));
    position_ = positions;
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
