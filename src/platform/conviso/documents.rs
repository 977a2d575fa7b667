//! The GraphQL documents that Conviso is asked with. No value is ever part of a document: all go in variables, so that
//! no branch, title or key can rewrite one. Conviso refuses documents deeper than 15 or with more than 400 fields.

/// A mutation: its name, and what is read of its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mutation {
    /// Its name.
    pub(super) name: &'static str,
    /// The type of its input where the schema does not say it.
    pub(super) input: &'static str,
    /// What is read of its answer.
    selection: &'static str,
}

impl Mutation {
    /// The document, for an input of this type.
    pub(super) fn document(self, input: Option<&str>) -> String {
        let Self { name, selection, .. } = self;
        let input = input.unwrap_or(self.input);
        format!("mutation ($input: {input}!) {{ {name}(input: $input) {{ {selection} }} }}")
    }
}

macro_rules! mutations {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $input:literal, $selection:literal;)+) => {
        $($(#[$doc])* pub(super) const $constant: Mutation =
            Mutation { name: $name, input: $input, selection: $selection };)+

        /// All of them.
        pub(super) const MUTATIONS: &[Mutation] = &[$($constant),+];
    };
}

mutations! {
    /// Creates or updates up to fifty findings.
    BATCH = "batchCreateOrUpdateFindings", "BatchCreateOrUpdateFindingsInput",
        "issues { id title } findingErrors { index code message }";
    /// Creates or updates one finding in source code.
    UPSERT_SAST = "createOrUpdateSastFinding", "CreateOrUpdateSastFindingInput", "issue { id title }";
    /// Creates or updates one secret.
    UPSERT_SECRET = "createOrUpdateSecretFinding", "CreateOrUpdateSecretFindingInput", "issue { id title }";
    /// Creates one finding in source code.
    CREATE_SAST = "createSastFinding", "CreateSastFindingInput", "issue { id title }";
    /// Changes the status of one issue.
    CHANGE_STATUS = "changeIssueStatus", "ChangeIssueStatusInput", "issue { id }";
    /// Begins what Conviso shows as one sync.
    SYNC_BEGIN = "createControlSyncStatus", "CreateControlSyncStatusInput", "controlSyncStatus { id } success";
    /// Ends it, with counts.
    SYNC_END = "increaseIssueScanCount", "IncreaseIssueScanCountInput", "controlSyncStatus { id }";
    /// Makes an asset.
    CREATE_ASSET = "createAsset", "CreateAssetInput", "asset { id name } errors";
    /// Enters repository and branch into an asset.
    UPDATE_ASSET = "updateAsset", "UpdateAssetInput", "asset { id name } errors";
}

/// The company that a key is for.
pub(super) const COMPANY: &str = "query ($id: ID!) { company(id: $id) { id label } }";

/// Assets by a part of their name.
pub(super) const ASSETS: &str = "query ($companyId: ID!, $page: Int, $limit: Int, $search: AssetsSearch) {
  assets(companyId: $companyId, page: $page, limit: $limit, search: $search) {
    collection { id name integrations repositoryDetail { repositoryKey } }
    metadata { totalPages }
  }
}";

/// The same of a server that says less of an asset.
pub(super) const ASSETS_PLAIN: &str = "query ($companyId: ID!, $page: Int, $limit: Int, $search: AssetsSearch) {
  assets(companyId: $companyId, page: $page, limit: $limit, search: $search) {
    collection { id name integrations }
    metadata { totalPages }
  }
}";

/// Issues, in an order.
pub(super) const ISSUES: &str = "query ($companyId: ID!, $pagination: PaginationInput!, $filters: IssuesFiltersInput,
    $sortOptions: [IssuesSortInput!]) {
  issues(companyId: $companyId, pagination: $pagination, filters: $filters, sortOptions: $sortOptions) {
    collection {
      id status createdAt updatedAt permittedStatus
      statusHistory { status createdAt reason }
      ... on FindingInterface { originalIssueIdFromTool }
    }
    metadata { totalPages }
  }
}";

/// The same of a server whose history has no reasons.
pub(super) const ISSUES_PLAIN: &str =
    "query ($companyId: ID!, $pagination: PaginationInput!, $filters: IssuesFiltersInput,
    $sortOptions: [IssuesSortInput!]) {
  issues(companyId: $companyId, pagination: $pagination, filters: $filters, sortOptions: $sortOptions) {
    collection {
      id status createdAt updatedAt permittedStatus
      statusHistory { status createdAt }
      ... on FindingInterface { originalIssueIdFromTool }
    }
    metadata { totalPages }
  }
}";

/// Which arguments the fields of a type take.
pub(super) const OPERATIONS: &str = "query ($name: String!) {
  __type(name: $name) { fields { name args { name type { name ofType { name ofType { name ofType { name } } } } } } }
}";

/// Which members an input has.
pub(super) const INPUT: &str = "query ($name: String!) {
  __type(name: $name) {
    inputFields { name type { kind name ofType { kind name ofType { kind name ofType { kind name } } } } }
  }
}";

/// Which values an enum has.
pub(super) const ENUM: &str = "query ($name: String!) { __type(name: $name) { enumValues { name } } }";

/// The queries, for those who count.
#[cfg(test)]
const QUERIES: &[&str] = &[COMPANY, ASSETS, ASSETS_PLAIN, ISSUES, ISSUES_PLAIN, OPERATIONS, INPUT, ENUM];

/// Names of input types of queries that the schema may call otherwise: the operation's argument, and the name written
/// above.
pub(super) const QUERY_INPUTS: &[(&str, &str, &str)] = &[
    ("assets", "search", "AssetsSearch"),
    ("issues", "pagination", "PaginationInput"),
    ("issues", "filters", "IssuesFiltersInput"),
    ("issues", "sortOptions", "IssuesSortInput"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const DEPTH_MAX: usize = 15;
    const COMPLEXITY_MAX: usize = 400;

    /// Depth and number of selected fields, by braces and words; arguments do not count.
    fn cost(document: &str) -> (usize, usize) {
        let (mut depth, mut deepest, mut fields, mut arguments) = (0_usize, 0, 0, 0_usize);
        let spaced = document
            .replace("... on FindingInterface", " ")
            .replace('{', " { ")
            .replace('}', " } ")
            .replace('(', " ( ")
            .replace(')', " ) ");
        for word in spaced.split_whitespace() {
            match word {
                "(" => arguments += 1,
                ")" => arguments -= 1,
                "{" => {
                    depth += 1;
                    deepest = deepest.max(depth);
                }
                "}" => depth -= 1,
                _ if arguments == 0 && depth > 0 => fields += 1,
                _ => {}
            }
        }
        assert_eq!((depth, arguments), (0, 0), "unbalanced: {document}");
        (deepest, fields)
    }

    #[test]
    fn no_document_is_deeper_or_larger_than_conviso_takes() {
        let mutations = MUTATIONS.iter().map(|one| one.document(None));
        let all: Vec<String> = QUERIES.iter().map(|one| (*one).to_owned()).chain(mutations).collect();
        assert_eq!(all.len(), QUERIES.len() + 9);
        for document in all {
            let (depth, fields) = cost(&document);
            assert!((1..=DEPTH_MAX).contains(&depth), "depth {depth}: {document}");
            assert!((1..=COMPLEXITY_MAX).contains(&fields), "{fields} fields: {document}");
        }
        assert_eq!(cost(COMPANY), (2, 3));
    }

    #[test]
    fn no_document_holds_a_value() {
        let mutations = MUTATIONS.iter().map(|one| one.document(Some("Other")));
        for document in QUERIES.iter().map(|one| (*one).to_owned()).chain(mutations) {
            assert!(!document.contains('"'), "{document}");
            // Every argument is a variable.
            let body = document.split_once(") {").expect("each has variables").1;
            for argument in body.split('(').skip(1).map(|rest| rest.split(')').next().unwrap_or_default()) {
                for pair in argument.split(',') {
                    assert!(pair.split(':').nth(1).is_some_and(|value| value.trim().starts_with('$')), "{document}");
                }
            }
        }
    }

    #[test]
    fn an_input_is_of_the_type_that_the_schema_says() {
        assert_eq!(
            CHANGE_STATUS.document(Some("StatusInput")),
            "mutation ($input: StatusInput!) { changeIssueStatus(input: $input) { issue { id } } }"
        );
    }
}
