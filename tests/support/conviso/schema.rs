//! The schema's text: only what published clients and documents of Conviso show, with types as far as they show them.

use super::{Guesses, Variant};

pub(super) fn text(variant: Variant, guesses: &Guesses) -> String {
    let new = variant == Variant::New;
    let when = |condition: bool, text: &str| if condition { text.to_owned() } else { String::new() };
    let asset_id = if guesses.asset_ids_are_numbers { "Int!" } else { "ID!" };
    let tools = guesses.sonar_tools.join(" ");
    let finding = format!(
        "title: String! description: String! severity: SeverityCategory! solution: String category: String
         reference: String fileName: String vulnerableLine: Int firstLine: Int originalIssueIdFromTool: String
         controlSyncStatusId: ID codeSnippet: String{} {}",
        when(guesses.snippet_required, "!"),
        when(new, "branch: String commitRef: String"),
    );
    let (pagination, sort) =
        if guesses.usual_input_names { ("PaginationInput", "IssuesSortInput") } else { ("Paginator", "IssueOrder") };
    let batch = format!(
        "batchCreateOrUpdateFindings(input: BatchCreateOrUpdateFindingsInput!): BatchCreateOrUpdateFindingsPayload {}",
        when(guesses.secrets, "createOrUpdateSecretFinding(input: CreateOrUpdateSecretFindingInput!): FindingPayload")
    );
    format!(
        r"
scalar ISO8601DateTime

enum ToolTypeCategory {{ CONVISO_SCANNER DEPENDENCY_TRACK FORTIFY CHECKMARX SNYK CONVISO_AST {tools} }}
enum IssueStatusLabel {{
  CREATED DRAFT IDENTIFIED IN_PROGRESS AWAITING_VALIDATION FIX_ACCEPTED RISK_ACCEPTED FALSE_POSITIVE SUPPRESSED
}}
enum SeverityCategory {{ NOTIFICATION LOW MEDIUM HIGH CRITICAL }}
enum BusinessImpact {{ LOW MEDIUM HIGH NOT_DEFINED }}
enum IssueSortBy {{ RISK_SCORE SEVERITY ID CREATED_AT UPDATED_AT SLA_DUE_AT }}
enum Order {{ ASC DESC }}

type CollectionMetadata {{ currentPage: Int! limitValue: Int! totalCount: Int! totalPages: Int! }}
type Company {{ id: ID! label: String! customFeatures: [String!] }}

type Asset {{
  id: ID! name: String companyId: Int integrations: [String!] businessImpact: BusinessImpact
  {repository_detail}
}}
type RepositoryDetail {{ repositoryKey: String }}
type AssetCollection {{ collection: [Asset!]! metadata: CollectionMetadata! }}
input AssetsSearch {{ name: String search: String tags: [String!] integrationTypes: [ToolTypeCategory!] }}

type StatusHistory {{ status: IssueStatusLabel! createdAt: ISO8601DateTime! {history_reason} }}
{branch_type}
interface IssueInterface {{
  id: ID! title: String! status: IssueStatusLabel! type: String createdAt: ISO8601DateTime! updatedAt: ISO8601DateTime!
  permittedStatus: [IssueStatusLabel!] statusHistory: [StatusHistory!] {branch}
}}
interface FindingInterface {{ severity: SeverityCategory solution: String scanSource: String originalIssueIdFromTool: String }}
type SastFinding implements IssueInterface & FindingInterface {{
  id: ID! title: String! status: IssueStatusLabel! type: String createdAt: ISO8601DateTime! updatedAt: ISO8601DateTime!
  permittedStatus: [IssueStatusLabel!] statusHistory: [StatusHistory!] {branch}
  severity: SeverityCategory solution: String scanSource: String originalIssueIdFromTool: String
}}
type SourceCodeVulnerability implements IssueInterface {{
  id: ID! title: String! status: IssueStatusLabel! type: String createdAt: ISO8601DateTime! updatedAt: ISO8601DateTime!
  permittedStatus: [IssueStatusLabel!] statusHistory: [StatusHistory!] {branch}
}}
type IssueCollection {{ collection: [IssueInterface!]! metadata: CollectionMetadata! }}
input {pagination} {{ page: Int perPage: Int }}
input IssuesFiltersInput {{ ids: [ID!] assetIds: [ID!] statuses: [IssueStatusLabel!] severities: [SeverityCategory!] }}
input {sort} {{ sortBy: IssueSortBy! order: Order! }}

type Query {{
  company(id: ID!): Company
  assets(companyId: ID!, page: Int, limit: Int, search: AssetsSearch): AssetCollection!
  issues(companyId: ID!, pagination: {pagination}!, filters: IssuesFiltersInput, sortOptions: [{sort}!]): IssueCollection!
}}

input CreateAssetInput {{
  companyId: Int! name: String! description: String businessImpact: BusinessImpact assetsTagList: [String!]
  repoUrl: String branchName: String
}}
input UpdateAssetInput {{ id: ID! companyId: Int! name: String! description: String repoUrl: String branchName: String }}
type AssetPayload {{ asset: Asset errors: [String!] }}

input CreateSastFindingInput {{ assetId: {asset_id} {finding} }}
input CreateOrUpdateSastFindingInput {{ assetId: {asset_id} {finding} }}
input CreateOrUpdateSecretFindingInput {{ assetId: {asset_id} {finding} }}
input BatchSast {{ {finding} }}
input BatchFinding {{ assetId: {asset_id} sast: BatchSast {secret} }}
input BatchCreateOrUpdateFindingsInput {{ findings: [BatchFinding!]! }}
type FindingPayload {{ issue: IssueInterface }}
type FindingError {{ index: Int! code: String message: String }}
type BatchCreateOrUpdateFindingsPayload {{ issues: [IssueInterface] findingErrors: [FindingError!] }}

input ChangeIssueStatusInput {{
  id: ID! status: IssueStatusLabel! reason: String controlSyncStatusId: ID externalAuthorIdentifier: String
}}
type IssuePayload {{ issue: IssueInterface }}
input BulkChangeIssueStatusInput {{ ids: [ID!]! companyId: ID! status: IssueStatusLabel! reason: String }}
type JobPayload {{ jobId: ID }}

type ControlSyncStatus {{ id: ID! status: String successCount: Int failureCount: Int failureReason: String }}
input CreateControlSyncStatusInput {{
  assetId: ID! integration: ToolTypeCategory! externalVulnerabilityCount: Int {sync_extra}
}}
input IncreaseIssueScanCountInput {{
  controlSyncStatusId: ID! assetId: ID! successCount: Int failureCount: Int failureReason: String
  integration: ToolTypeCategory!
}}
type ControlSyncStatusPayload {{ controlSyncStatus: ControlSyncStatus success: Boolean }}

type Mutation {{
  createAsset(input: CreateAssetInput!): AssetPayload
  updateAsset(input: UpdateAssetInput!): AssetPayload
  createSastFinding(input: CreateSastFindingInput!): FindingPayload
  {upsert}
  {batch}
  changeIssueStatus(input: ChangeIssueStatusInput!): IssuePayload
  bulkChangeIssueStatus(input: BulkChangeIssueStatusInput!): JobPayload
  createControlSyncStatus(input: CreateControlSyncStatusInput!): ControlSyncStatusPayload
  increaseIssueScanCount(input: IncreaseIssueScanCountInput!): ControlSyncStatusPayload
}}
",
        repository_detail = when(new, "repositoryDetail: RepositoryDetail"),
        history_reason = when(new, "reason: String"),
        branch_type = when(new, "type Branch { name: String }"),
        branch = when(new, "branch: Branch"),
        secret = when(guesses.secrets, "secret: BatchSast"),
        sync_extra = when(new, "branchName: String scanRunId: ID"),
        upsert = when(
            variant != Variant::Oldest,
            "createOrUpdateSastFinding(input: CreateOrUpdateSastFindingInput!): FindingPayload"
        ),
        batch = when(new, &batch),
    )
}
