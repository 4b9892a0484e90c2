//! The neutral room: the operator graph that the planner writes and the runtime reads.

mod changelog;
mod graph;
mod ordered;
mod partitioning;
mod pattern;

pub use changelog::ChangelogMode;
pub use graph::{
    AggregateCall, AsyncLookup, CalcNode, ChangelogNormalizeNode, DropUpdateBeforeNode, Edge, ExpandNode,
    GroupAggregateNode, IntervalJoinNode, JoinKey, JoinType, LimitNode, LookupJoinNode, LookupKey,
    LookupRetry, MiniBatchNode, NodeId, NodeKind, OperatorId, RegularJoinNode, SinkNode, SourceNode,
    StreamNode, StreamPlan, TemporalJoinNode, TimeAttribute, UnnestNode, UpsertMaterializeNode, ValuesNode,
    WatermarkStrategy, WindowAggregateNode, WindowInput, WindowJoinNode, WindowProperty, WindowTableNode,
};
pub use ordered::{
    DeduplicateNode, Frame, FrameBound, OverCall, OverNode, RankEnd, SortColumn, SortNode, TopNNode,
    TopNStrategy, WindowTopNNode,
};
pub use partitioning::Partitioning;
pub use pattern::{
    AfterMatchSkip, MatchExpressions, MatchRecognizeNode, MatchValue, PatternVariable, Quantifier,
};
