#include "cache/prefix_index.h"

#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <string>
#include <tuple>

namespace kvtape::cache {

PrefixIndex::PrefixIndex(BlockPool& pool, std::int32_t block_size) : pool_(pool), block_size_(block_size) {
  nodes_.emplace_back();
  nodes_[kRoot].parent = kRoot;
  ids_.resize(static_cast<std::size_t>(block_size));
}

std::uint64_t PrefixIndex::hash(Node parent, std::span<const std::int32_t> ids) const noexcept {
  // A parent's hash stands for the whole prefix before it. Multiply and fold, one round an id (splitmix64's constants).
  std::uint64_t h = nodes_[static_cast<std::size_t>(parent)].hash + 0x9e3779b97f4a7c15u;
  for (const std::int32_t id : ids) {
    h = (h ^ static_cast<std::uint32_t>(id)) * 0xbf58476d1ce4e5b9u;
    h ^= h >> 29;
  }
  return h;
}

std::span<const std::int32_t> PrefixIndex::ids_of(Node node) const noexcept {
  const std::int32_t n_ids = nodes_[static_cast<std::size_t>(node)].n_ids;
  return std::span(ids_).subspan(static_cast<std::size_t>(node * block_size_), static_cast<std::size_t>(n_ids));
}

std::optional<PrefixIndex::Node> PrefixIndex::lookup(Node parent, std::span<const std::int32_t> ids,
                                                     std::uint64_t key) const {
  const auto [begin, end] = by_hash_.equal_range(key);
  for (auto it = begin; it != end; ++it) {
    const Node node = it->second;
    if (nodes_[static_cast<std::size_t>(node)].parent == parent && std::ranges::equal(ids_of(node), ids)) return node;
  }
  return std::nullopt;
}

std::optional<PrefixIndex::Entry> PrefixIndex::find(Node parent, std::span<const std::int32_t> ids) {
  const auto node = lookup(parent, ids, hash(parent, ids));
  if (!node) return std::nullopt;
  at(*node).last_used = ++clock_;
  return Entry{*node, at(*node).block};
}

std::optional<PrefixIndex::Match> PrefixIndex::find_longest(Node parent, std::span<const std::int32_t> ids) {
  if (ids.size() == static_cast<std::size_t>(block_size_)) {
    if (const auto whole = find(parent, ids)) return Match{whole->node, whole->block, block_size_};
  }
  Match best{kRoot, 0, 0};
  for (Node child = at(parent).first_child; child != kRoot; child = at(child).next_sibling) {
    const auto differs = std::ranges::mismatch(ids, ids_of(child)).in1;
    const auto n_equal = static_cast<std::int32_t>(differs - ids.begin());
    if (n_equal > best.n_equal) best = {child, at(child).block, n_equal};
  }
  if (best.n_equal == 0) return std::nullopt;
  at(best.node).last_used = ++clock_;
  return best;
}

PrefixIndex::Entry PrefixIndex::insert(Node parent, std::span<const std::int32_t> ids, std::int32_t block) {
  assert(!ids.empty() && ids.size() <= static_cast<std::size_t>(block_size_));
  assert(parent == kRoot || at(parent).n_ids == block_size_);
  const std::uint64_t key = hash(parent, ids);
  if (const auto existing = lookup(parent, ids, key)) {
    at(*existing).last_used = ++clock_;
    return {*existing, at(*existing).block};
  }
  Node node;
  if (unused_.empty()) {
    node = static_cast<Node>(nodes_.size());
    nodes_.emplace_back();
    ids_.resize(ids_.size() + static_cast<std::size_t>(block_size_));
  } else {
    node = unused_.back();
    unused_.pop_back();
  }
  at(node) = {.parent = parent,
              .next_sibling = at(parent).first_child,
              .block = block,
              .n_ids = static_cast<std::int32_t>(ids.size()),
              .hash = key,
              .last_used = ++clock_};
  at(parent).first_child = node;
  std::ranges::copy(ids, ids_.begin() + node * block_size_);
  by_hash_.emplace(key, node);
  pool_.retain(block);
  ++n_nodes_;
  drop_covered_by(node);
  return {node, block};
}

void PrefixIndex::drop_covered_by(Node node) {
  const auto ids = ids_of(node);
  for (Node child = at(at(node).parent).first_child; child != kRoot;) {
    const Node next = at(child).next_sibling;
    const auto others = ids_of(child);
    if (others.size() < ids.size() && std::ranges::equal(others, ids.first(others.size()))) drop(child);
    child = next;
  }
}

void PrefixIndex::freeze(Node node) noexcept { at(node).frozen = true; }

bool PrefixIndex::try_drop(Node node) {
  if (at(node).first_child != kRoot || pool_.ref_count(at(node).block) > 2) return false;
  drop(node);
  return true;
}

bool PrefixIndex::try_evict() {
  Node oldest = kRoot;
  for (Node node = 1; node < static_cast<Node>(nodes_.size()); ++node) {
    const NodeData& data = at(node);
    if (data.parent < 0 || data.first_child != kRoot || pool_.ref_count(data.block) > 1) continue;
    if (oldest == kRoot || std::tie(data.frozen, data.last_used) < std::tie(at(oldest).frozen, at(oldest).last_used)) {
      oldest = node;
    }
  }
  if (oldest == kRoot) return false;
  drop(oldest);
  return true;
}

void PrefixIndex::drop(Node leaf) {
  NodeData& data = at(leaf);
  const auto [begin, end] = by_hash_.equal_range(data.hash);
  by_hash_.erase(std::find_if(begin, end, [&](const auto& item) { return item.second == leaf; }));
  Node* link = &at(data.parent).first_child;
  while (*link != leaf) link = &at(*link).next_sibling;
  *link = data.next_sibling;
  pool_.release(data.block);
  data = NodeData{};
  unused_.push_back(leaf);
  --n_nodes_;
}

void PrefixIndex::check_integrity(std::vector<std::int32_t>& holders) const {
  std::vector<std::int32_t> n_children(nodes_.size());
  std::vector<bool> indexed(holders.size());
  std::int32_t n_used = 0;
  for (std::size_t node = 1; node < nodes_.size(); ++node) {
    const NodeData& data = nodes_[node];
    if (data.parent < 0) continue;
    ++n_used;
    ++n_children[static_cast<std::size_t>(data.parent)];
    ++holders[static_cast<std::size_t>(data.block)];
    if (indexed[static_cast<std::size_t>(data.block)]) {  // neither of the two nodes could ever be evicted
      throw std::logic_error("prefix index: block " + std::to_string(data.block) + " stands in it twice");
    }
    indexed[static_cast<std::size_t>(data.block)] = true;
    if (lookup(data.parent, ids_of(static_cast<Node>(node)), data.hash) != static_cast<Node>(node)) {
      throw std::logic_error("prefix index: node " + std::to_string(node) + " is not found under its own ids");
    }
  }
  for (std::size_t node = 0; node < nodes_.size(); ++node) {
    if (node > 0 && nodes_[node].parent < 0) continue;
    for (Node child = nodes_[node].first_child; child != kRoot;
         child = nodes_[static_cast<std::size_t>(child)].next_sibling) {
      const bool is_own = nodes_[static_cast<std::size_t>(child)].parent == static_cast<Node>(node);
      if (!is_own || --n_children[node] < 0) {
        throw std::logic_error("prefix index: node " + std::to_string(node) + " has a wrong list of children");
      }
    }
    if (n_children[node] != 0) {
      throw std::logic_error("prefix index: node " + std::to_string(node) + " lacks children in its list");
    }
  }
  if (n_used != n_nodes_) throw std::logic_error("prefix index: counts wrong nodes");
}

}  // namespace kvtape::cache
