//! The neutral room: the operator graph that the planner writes and the runtime reads.

mod changelog;
mod graph;
mod partitioning;

pub use changelog::ChangelogMode;
pub use graph::{
    AggregateCall, CalcNode, Edge, ExpandNode, GroupAggregateNode, IntervalJoinNode, JoinKey, JoinType, LimitNode, NodeId, NodeKind, OperatorId,
    RegularJoinNode, SinkNode, SourceNode, StreamNode, StreamPlan, TimeAttribute, ValuesNode, WatermarkStrategy,
    WindowAggregateNode, WindowInput, WindowJoinNode, WindowProperty, WindowTableNode,
};
pub use partitioning::Partitioning;
